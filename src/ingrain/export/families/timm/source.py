"""Receives a timm folder, hands on what the source library makes of pictures."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingrain.errors import ExportError, IngrainError
from ingrain.export.families.timm.checkpoint import TimmCheckpoint, labels_of
from ingrain.export.process.missing_package import missing_package
from ingrain.export.weights.independent_load import IndependentLoads, probe_pixels
from ingrain.export.weights.initial_weights import repeated_random
from ingrain.machine_faults import raise_if_machines

_PICTURES_AT_ONCE = 4


class TimmSource:
    """Owns the loaded model; ``release`` gives its memory back, ``load`` reads it again.

    Args:
        checkpoint: An inspected folder.
        headless: True to leave out the head, whatever the weights have.

    Raises:
        ExportError: The library cannot load the model.
        UnsupportedModelError: Its labels do not fit its head.
    """

    def __init__(self, checkpoint: TimmCheckpoint, *, headless: bool = False) -> None:
        self._checkpoint = checkpoint
        self._changes = {"num_classes": 0} if headless else {}
        self._model: Any = None
        self._loads = IndependentLoads()
        self.load()
        self.release()
        self.load()  # held against the first, before anything is asked of it
        import timm.data

        self.data_config: dict[str, Any] = timm.data.resolve_model_data_config(self.model)
        self.is_classifier = bool(self.model.num_classes)
        self.labels = labels_of(self.model.pretrained_cfg, self.model.num_classes) if self.is_classifier else ()

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
        import timm
        from timm.layers import set_fused_attn

        # As for OpenCLIP: a fused attention cannot be exported everywhere, and is no faster in a graph.
        set_fused_attn(False)
        try:
            with self._loads.watch() as networks, repeated_random():
                model = timm.create_model(f"local-dir:{self._checkpoint.folder}", pretrained=True, **self._changes)
        except IngrainError:
            raise
        except Exception as error:  # the library raises whatever the files make it stumble over
            raise_if_machines(error)
            traceback.print_exc()
            if missing := missing_package(error):
                raise missing from error
            raise ExportError(
                f"timm cannot load the model ({type(error).__name__}); "
                "files are missing or do not fit together, and the server's log says which."
            ) from error
        self._model = model.float().eval().requires_grad_(False)
        self._loads.check(self._model, networks, self._probe)

    def release(self) -> None:
        """Let go of the weights."""
        self._model = None
        gc.collect()

    def pixels(self, pictures: Sequence[Any]) -> NDArray[np.float32]:
        """Return what the network gets of Pillow pictures in RGB, float32 ``[B, 3, H, W]``."""
        import timm.data

        transform = timm.data.create_transform(**self.data_config, is_training=False)
        return np.stack([transform(picture).numpy() for picture in pictures])

    def embed_pixels(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return logits or vectors, float32 ``[B, D]``."""
        import torch

        batches = [pixels[start : start + _PICTURES_AT_ONCE] for start in range(0, len(pixels), _PICTURES_AT_ONCE)]
        with torch.inference_mode():
            rows = [self.model(torch.from_numpy(batch)).numpy() for batch in batches]
        output: NDArray[np.float32] = np.concatenate(rows).astype(np.float32)
        return output

    def _probe(self) -> list[NDArray[np.float32]]:
        import timm.data

        return [self.embed_pixels(probe_pixels(*timm.data.resolve_model_data_config(self.model)["input_size"][1:]))]
