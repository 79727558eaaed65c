"""A loaded sentence-transformers model: the library's own way from texts to ids and vectors."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingrain.errors import ExportError, IngrainError
from ingrain.export.families.sentence_transformers import images as image_tower
from ingrain.export.families.sentence_transformers.checkpoint import Checkpoint, transformer_options
from ingrain.export.families.sentence_transformers.named_rules import apply_named_rules
from ingrain.export.families.sentence_transformers.serving_tokenizer import (
    save_static_tokenizer,
    save_transformer_tokenizer,
)
from ingrain.export.process.missing_package import missing_package
from ingrain.export.weights.independent_load import PROBES, IndependentLoads
from ingrain.export.weights.load_report import Loaded
from ingrain.machine_faults import raise_if_machines
from ingrain.repository.manifest import TextPreprocess


class SentenceTransformersSource:
    """Owns the loaded model; ``release`` gives its memory back, ``load`` reads it again.

    Args:
        checkpoint: An inspected folder.
        name: What the user calls the model, for the library ties rules to names.
        trust_remote_code: True to run code that comes with the model.

    Raises:
        ExportError: The library cannot load the model.
    """

    def __init__(self, checkpoint: Checkpoint, *, name: str, trust_remote_code: bool) -> None:
        self._checkpoint = checkpoint
        self._name = name
        self._trust_remote_code = trust_remote_code
        self._model: Any = None
        self._loads = IndependentLoads()
        self.load()
        self.release()
        self.load()  # held against the first, before anything is asked of it
        first = self.model[0]
        self.is_static = type(first).__name__ == "StaticEmbedding"
        self.architecture: str = "StaticEmbedding" if self.is_static else type(first.model).__name__
        self.parameters: int = sum(parameter.numel() for parameter in self.model.parameters())
        self.special_tokens: list[str] = (
            [token.content for token in first.tokenizer.get_added_tokens_decoder().values()]
            if self.is_static
            else list(first.tokenizer.all_special_tokens)
        )

    @property
    def model(self) -> Any:
        """The loaded ``SentenceTransformer``."""
        return self._model

    def load(self) -> None:
        """Load the model in float32, whatever its weights are stored in; nothing happens where it is loaded.

        Raises:
            ExportError: The library cannot load the model.
        """
        if self._model is not None:
            return
        import torch
        from sentence_transformers import SentenceTransformer

        arguments: dict[str, Any] = {"dtype": torch.float32, "use_safetensors": True}
        if "flash" in str(_model_arguments(self._checkpoint).get("attn_implementation")):
            arguments["attn_implementation"] = "sdpa"  # the same numbers without a GPU
        try:
            with self._loads.watch() as networks:
                model = SentenceTransformer(
                    str(self._checkpoint.folder),
                    device="cpu",
                    trust_remote_code=self._trust_remote_code,
                    local_files_only=True,
                    model_kwargs=arguments,
                )
        except IngrainError:
            raise
        except Exception as error:  # the library raises whatever the files make it stumble over
            raise_if_machines(error)
            traceback.print_exc()
            if missing := missing_package(error):
                raise missing from error
            raise ExportError(
                f"sentence-transformers cannot load the model ({type(error).__name__}); "
                "files are missing or do not fit together, and the server's log says which."
            ) from error
        apply_named_rules(model, self._name)
        self._model = model.float().eval().requires_grad_(False)
        if type(model[0]).__name__ == "StaticEmbedding":
            networks.append(Loaded(model[0]))  # made of the tensors of its file, which it takes out by name
        self._loads.check(self._model, networks, self._probe)

    def _probe(self) -> list[NDArray[np.float32]]:
        return [self.embed(PROBES, batch_size=len(PROBES)), *image_tower.probe(self.model)]

    def release(self) -> None:
        """Let go of the weights."""
        self._model = None
        gc.collect()

    def save_tokenizer(self, folder: Path) -> TextPreprocess:
        """Write the serving tokenizer; the source is told to cut where it does.

        Raises:
            UnsupportedModelError: The tokenizer cannot be served.
        """
        save = save_static_tokenizer if self.is_static else save_transformer_tokenizer
        return save(self.model, folder)

    def tokenize(self, texts: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """Return what the network gets, int64 ``[B, T]`` by name."""
        features = self.model[0].preprocess(list(texts))
        if not self.is_static:
            return {name: value.numpy() for name, value in features.items() if hasattr(value, "numpy")}
        bounds = [*features["offsets"].tolist(), len(features["input_ids"])]
        lengths = np.diff(bounds)
        mask = (np.arange(max(1, lengths.max())) < lengths[:, None]).astype(np.int64)
        ids = np.zeros_like(mask)
        ids[mask == 1] = features["input_ids"].numpy()
        return {"input_ids": ids, "attention_mask": mask}

    def embed(self, texts: Sequence[str], *, prompt: str | None = None, batch_size: int = 1) -> NDArray[np.float32]:
        """Return the vectors of ``encode``, float32 ``[B, D]``; ``prompt`` None is the model's default."""
        vectors: NDArray[np.float32] = self.model.encode(
            list(texts), prompt=prompt, batch_size=batch_size, show_progress_bar=False, convert_to_numpy=True
        )
        return vectors

    def pixels(self, pictures: Sequence[Any]) -> NDArray[np.float32]:
        """Return what the network gets of Pillow pictures, float32 ``[B, 3, H, W]``."""
        return image_tower.prepare(self.model, pictures)

    def embed_pixels(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the vectors of ``encode`` of prepared pictures, float32 ``[B, D]``."""
        return image_tower.embed(self.model, pixels)


def _model_arguments(checkpoint: Checkpoint) -> dict[str, Any]:
    folders = [module.folder for module in checkpoint.modules if module.kind in ("Transformer", "CLIPModel")]
    options = transformer_options(folders[0]) if folders else {}
    return {**options.get("model_args", {}), **options.get("model_kwargs", {})}
