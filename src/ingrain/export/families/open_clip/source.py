"""Receives an OpenCLIP folder, hands on what the source library makes of texts and pictures."""

from __future__ import annotations

import copy
import gc
import json
import tempfile
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingrain.errors import ExportError, IngrainError
from ingrain.export.families.open_clip.checkpoint import CONFIG, ClipCheckpoint
from ingrain.export.families.open_clip.text_graph import is_hugging_face, text_tower
from ingrain.export.families.open_clip.tokenizer import save_clip_tokenizer, special_tokens
from ingrain.export.process.missing_package import missing_package
from ingrain.export.weights.independent_load import PROBES, IndependentLoads, probe_pixels
from ingrain.export.weights.initial_weights import repeated_random
from ingrain.export.weights.load_report import lacking
from ingrain.machine_faults import raise_if_machines
from ingrain.repository.manifest import Similarity, TextPreprocess

_PICTURES_AT_ONCE = 4


def create_network(model: dict[str, Any], preprocess: dict[str, Any], text_config: Path | None) -> Any:
    """Build an OpenCLIP model with random weights; nothing is fetched.

    Args:
        model: ``model_cfg`` of the model's configuration.
        preprocess: ``preprocess_cfg`` of it.
        text_config: Folder of the configuration of a text tower of transformers; without it the library would ask the
            hub for the tower's name.
    """
    import open_clip
    from timm.layers import set_fused_attn

    # Fused attention cannot be exported everywhere, and where it can, its graph is slower on the CPU.
    set_fused_attn(False)
    model = copy.deepcopy(model)
    if text_config is not None:
        model["text_cfg"]["hf_model_name"] = str(text_config)
    with tempfile.TemporaryDirectory(prefix="ingrain-clip-") as scratch:
        (Path(scratch) / CONFIG).write_text(json.dumps({"model_cfg": model, "preprocess_cfg": preprocess}))
        return open_clip.create_model(
            f"local-dir:{scratch}", load_weights=False, pretrained_text=False, pretrained_image=False
        )


class ClipSource:
    """Owns the loaded model; ``release`` gives its memory back, ``load`` reads it again.

    Args:
        checkpoint: An inspected folder.

    Raises:
        ExportError: The library cannot load the model.
    """

    def __init__(self, checkpoint: ClipCheckpoint) -> None:
        self._checkpoint = checkpoint
        self._model: Any = None
        self._tokenizer = self._load_tokenizer()
        self._loads = IndependentLoads()
        self.load()
        self.release()
        self.load()  # held against the first, before anything is asked of it
        tower = text_tower(self.model)
        self.architecture = _describe(self.model, checkpoint.model)
        self.parameters = sum(p.numel() for p in self.model.parameters()) - sum(
            p.numel() for p in self.model.visual.parameters()
        )
        self.special_tokens = special_tokens(self._tokenizer)
        self.preprocess: dict[str, Any] = dict(self.model.visual.preprocess_cfg)
        self.similarity = _similarity(self.model)
        self.context_length = None if is_hugging_face(tower) else int(tower.context_length)

    @property
    def model(self) -> Any:
        """The loaded model, in float32 on the CPU."""
        return self._model

    def load(self) -> None:
        """Load the model with its weights; nothing happens where it is loaded.

        Raises:
            ExportError: The library cannot load the model.
        """
        if self._model is not None:
            return
        import open_clip

        found = self._checkpoint
        try:
            with self._loads.watch() as networks:
                with repeated_random():
                    model = create_network(found.model, found.preprocess, found.text_config)
                _refuse_without_bias(model, found.weights)
                open_clip.load_checkpoint(model, str(found.weights))
        except IngrainError:
            raise
        except Exception as error:  # the library raises whatever the files make it stumble over
            raise_if_machines(error)
            traceback.print_exc()
            if missing := missing_package(error):
                raise missing from error
            raise ExportError(
                f"OpenCLIP cannot load the model ({type(error).__name__}); "
                "files are missing or do not fit together, and the server's log says which."
            ) from error
        self._model = model.float().eval().requires_grad_(False)
        self._loads.check(self._model, networks, self._probe)

    def release(self) -> None:
        """Let go of the weights."""
        self._model = None
        gc.collect()

    def save_tokenizer(self, folder: Path) -> TextPreprocess:
        """Write the serving tokenizer.

        Raises:
            UnsupportedModelError: The tokenizer cannot be served.
            ExportError: It cuts texts elsewhere than the text tower does.
        """
        text = save_clip_tokenizer(self._tokenizer, folder)
        if self.context_length not in (None, text.max_tokens):
            raise ExportError(
                f"The model's tokenizer has the context length {text.max_tokens}, and its text tower "
                f"{self.context_length}."
            )
        return text

    def tokenize(self, texts: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """Return what the text tower gets, int64 ``[B, context length]``."""
        return {"input_ids": self._tokenizer(list(texts)).numpy()}

    def embed(
        self,
        texts: Sequence[str],
        *,
        prompt: str | None = None,
        batch_size: int = 1,
    ) -> NDArray[np.float32]:
        """Return the vectors of ``encode_text(normalize=False)``, float32 ``[B, D]``; OpenCLIP has no prompts."""
        import torch

        texts = [(prompt or "") + text for text in texts]
        batches = [texts[start : start + batch_size] for start in range(0, len(texts), batch_size)]
        with torch.inference_mode():
            rows = [self.model.encode_text(self._tokenizer(batch), normalize=False).numpy() for batch in batches]
        vectors: NDArray[np.float32] = np.concatenate(rows).astype(np.float32)
        return vectors

    def pixels(self, pictures: Sequence[Any]) -> NDArray[np.float32]:
        """Return what the image tower gets of Pillow pictures, float32 ``[B, 3, H, W]``."""
        import open_clip.transform

        config = open_clip.transform.PreprocessCfg(**self.preprocess)
        transform = open_clip.transform.image_transform_v2(config, is_train=False)
        return np.stack([transform(picture).numpy() for picture in pictures])

    def embed_pixels(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the vectors of ``encode_image(normalize=False)``, float32 ``[B, D]``."""
        import torch

        batches = [pixels[start : start + _PICTURES_AT_ONCE] for start in range(0, len(pixels), _PICTURES_AT_ONCE)]
        with torch.inference_mode():
            rows = [self.model.encode_image(torch.from_numpy(batch), normalize=False).numpy() for batch in batches]
        vectors: NDArray[np.float32] = np.concatenate(rows).astype(np.float32)
        return vectors

    def _probe(self) -> list[NDArray[np.float32]]:
        size = self.model.visual.image_size
        height, width = size if isinstance(size, tuple | list) else (size, size)
        return [self.embed(PROBES), self.embed_pixels(probe_pixels(height, width))]

    def _load_tokenizer(self) -> Any:
        import open_clip

        text = self._checkpoint.model["text_cfg"]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                # Left open, transformers would ask at the terminal whether code in the folder may run.
                options = {"trust_remote_code": False} if text.get("hf_tokenizer_name") else {}
                return open_clip.get_tokenizer(f"local-dir:{self._checkpoint.folder}", **options)
        except Exception as error:  # as above
            raise_if_machines(error)
            traceback.print_exc()
            if missing := missing_package(error):
                raise missing from error
            raise ExportError(
                f"OpenCLIP cannot load the model's tokenizer ({type(error).__name__}); the server's log says why."
            ) from error


def _refuse_without_bias(model: Any, weights: Path) -> None:
    """Refuse a sigmoid's bias that the library would set to 0, as if the model were to be trained.

    Raises:
        UnsupportedModelError: The configuration has a bias, and the weights do not.
    """
    from safetensors import safe_open

    if getattr(model, "logit_bias", None) is None:
        return
    with safe_open(weights, framework="numpy") as file:
        if "logit_bias" not in file.keys():  # noqa: SIM118  # it is no mapping
            raise lacking({"logit_bias"})


def _similarity(model: Any) -> Similarity:
    bias = getattr(model, "logit_bias", None)
    scale = float(model.logit_scale.exp().reshape(()))
    if bias is None:
        return Similarity(scale=scale)
    # A bias is learned only together with the sigmoid loss, by which each label stands alone.
    return Similarity(scale=scale, bias=float(bias.reshape(())), activation="sigmoid")


def _describe(model: Any, config: dict[str, Any]) -> str:
    image = config["vision_cfg"].get("timm_model_name") or type(model.visual).__name__
    text = config["text_cfg"].get("hf_model_name") or "TextTransformer"
    return f"{type(model).__name__} ({image}, {text})"
