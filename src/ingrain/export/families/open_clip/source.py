"""Loads an OpenCLIP model and computes its reference outputs with OpenCLIP."""

from __future__ import annotations

import copy
import json
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingrain.errors import ExportError
from ingrain.export.families import towers
from ingrain.export.families.image_steps import preprocess_config_from_open_clip
from ingrain.export.families.open_clip.checkpoint import CONFIG, ClipCheckpoint
from ingrain.export.families.open_clip.text_graph import is_hugging_face, text_candidates, text_tower
from ingrain.export.families.open_clip.tokenizer import save_clip_tokenizer, special_tokens
from ingrain.export.families.protocol import Candidate, Description, Preparation, Source
from ingrain.export.onnx.image_graph import ImageGraph
from ingrain.export.process.load_errors import load_errors
from ingrain.export.weights.independent_load import PROBES, probe_pixels
from ingrain.export.weights.initial_weights import repeated_random
from ingrain.export.weights.load_report import lacking
from ingrain.repository.manifest import TextPreprocess

TEXT_INPUT = "input_ids"


class ClipSource(Source):
    """A loaded OpenCLIP model."""

    library = "OpenCLIP"

    def __init__(self, checkpoint: ClipCheckpoint) -> None:
        self._checkpoint = checkpoint
        self._tokenizer = self._load_tokenizer()
        super().__init__()
        self.parameters = sum(p.numel() for p in self.model.parameters()) - sum(
            p.numel() for p in self.model.visual.parameters()
        )
        self.special_tokens = special_tokens(self._tokenizer)
        self.preprocess: dict[str, Any] = dict(self.model.visual.preprocess_cfg)

    def read_model(self, _: list[Any]) -> Any:
        """Have OpenCLIP create and fill the network."""
        import open_clip

        found = self._checkpoint
        with repeated_random():
            model = create_network(found.model, found.preprocess, found.text_config)
        _refuse_without_bias(model, found.weights)
        open_clip.load_checkpoint(model, str(found.weights))
        return model

    def probe(self) -> list[NDArray[np.float32]]:
        """Return vectors of two texts and an image."""
        size = self.model.visual.image_size
        height, width = size if isinstance(size, tuple | list) else (size, size)
        return [self.embed(PROBES), self.embed_pixels(probe_pixels(height, width))]

    def describe(self, folder: Path) -> Description:
        """Write the serving tokenizer, and describe both towers.

        Raises:
            UnsupportedModelError: The tokenizer or the image preprocessing has an unsupported option.
            ExportError: Tokenizer and text tower have different context lengths.
        """
        image = preprocess_config_from_open_clip(self.preprocess)

        def build_image_graph(model: Any) -> ImageGraph:
            return ImageGraph(model.visual, image.mean, image.std)

        return Description(
            architecture=_describe(self.model, self._checkpoint.model),
            towers=(
                towers.text_tower(self, (TEXT_INPUT,), text_candidates(self.model), title="The text tower"),
                towers.image_tower(
                    self, (Candidate(recipe=recipe, build=build_image_graph) for recipe in towers.PLAIN_RECIPES)
                ),
            ),
            preparation=Preparation(folder=folder, text=self.save_tokenizer(folder), image=image),
            similarity=towers.learned_similarity(self.model),
        )

    def save_tokenizer(self, folder: Path) -> TextPreprocess:
        """Write the serving tokenizer."""
        text, tower = save_clip_tokenizer(self._tokenizer, folder), text_tower(self.model)
        if not is_hugging_face(tower) and tower.context_length != text.max_tokens:
            raise ExportError(
                f"The model's tokenizer has the context length {text.max_tokens}, but its text tower has "
                f"{tower.context_length}."
            )
        return text

    def tokenize(self, texts: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """Return the token ids for the text tower, int64 ``[B, context length]``."""
        return {TEXT_INPUT: self._tokenizer(list(texts)).numpy()}

    def embed(self, texts: Sequence[str], *, prompt: str | None = None, batch_size: int = 1) -> NDArray[np.float32]:
        """Return the vectors of ``encode_text(normalize=False)``, float32 ``[B, D]``; OpenCLIP has no prompts."""
        import torch

        texts = [(prompt or "") + text for text in texts]
        batches = [texts[start : start + batch_size] for start in range(0, len(texts), batch_size)]
        with torch.inference_mode():
            rows = [self.model.encode_text(self._tokenizer(batch), normalize=False).numpy() for batch in batches]
        vectors: NDArray[np.float32] = np.concatenate(rows).astype(np.float32)
        return vectors

    def pixels(self, images: Sequence[Any]) -> NDArray[np.float32]:
        """Prepare Pillow images for the image tower, float32 ``[B, 3, H, W]``."""
        import open_clip.transform

        config = open_clip.transform.PreprocessCfg(**self.preprocess)
        transform = open_clip.transform.image_transform_v2(config, is_train=False)
        return np.stack([transform(image).numpy() for image in images])

    def run_image_tower(self, pixels: Any) -> Any:
        """Return the vectors of ``encode_image(normalize=False)``, float32 ``[B, D]``."""
        return self.model.encode_image(pixels, normalize=False)

    def _load_tokenizer(self) -> Any:
        import open_clip

        text = self._checkpoint.model["text_cfg"]
        with load_errors(self.library, "the model's tokenizer"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Without this argument, transformers asks on the terminal whether code in the folder may run.
            options = {"trust_remote_code": False} if text.get("hf_tokenizer_name") else {}
            return open_clip.get_tokenizer(f"local-dir:{self._checkpoint.folder}", **options)


def create_network(model: dict[str, Any], preprocess: dict[str, Any], text_config: Path | None) -> Any:
    """Build an OpenCLIP model with random weights, without network access.

    Args:
        model: ``model_cfg`` of the model's configuration.
        preprocess: ``preprocess_cfg`` of the same configuration.
        text_config: Folder with the configuration of a text tower of transformers, which OpenCLIP would otherwise
            fetch from the hub.
    """
    import open_clip
    from timm.layers import set_fused_attn

    # The exporters cannot convert all fused attention, and the graphs that they can convert are slower on the CPU.
    set_fused_attn(False)
    model = copy.deepcopy(model)
    if text_config is not None:
        model["text_cfg"]["hf_model_name"] = str(text_config)
    with tempfile.TemporaryDirectory(prefix="ingrain-clip-") as scratch:
        (Path(scratch) / CONFIG).write_text(json.dumps({"model_cfg": model, "preprocess_cfg": preprocess}))
        return open_clip.create_model(
            f"local-dir:{scratch}", load_weights=False, pretrained_text=False, pretrained_image=False
        )


def _refuse_without_bias(model: Any, weights: Path) -> None:
    """Refuse weights without the ``logit_bias`` of the configuration; OpenCLIP would silently use 0.

    Raises:
        UnsupportedModelError: The configuration has a bias, but the weights do not.
    """
    from safetensors import safe_open

    if getattr(model, "logit_bias", None) is None:
        return
    with safe_open(weights, framework="numpy") as file:
        if "logit_bias" not in file.keys():  # noqa: SIM118  # the file is not a mapping
            raise lacking({"logit_bias"})


def _describe(model: Any, config: dict[str, Any]) -> str:
    image = config["vision_cfg"].get("timm_model_name") or type(model.visual).__name__
    text = config["text_cfg"].get("hf_model_name") or "TextTransformer"
    return f"{type(model).__name__} ({image}, {text})"
