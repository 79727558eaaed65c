"""Loads a timm model and computes its reference outputs with timm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingrain.export.families.image_steps import preprocess_config_from_timm
from ingrain.export.families.protocol import Candidate, Description, Preparation, Source
from ingrain.export.families.timm.checkpoint import TimmCheckpoint, labels_of
from ingrain.export.families.towers import PLAIN_RECIPES, image_tower
from ingrain.export.onnx.image_graph import ImageGraph
from ingrain.export.proof.compare import compare, compare_logits
from ingrain.export.weights.independent_load import probe_pixels
from ingrain.export.weights.initial_weights import repeated_random


class TimmSource(Source):
    """A loaded timm model."""

    library = "timm"

    def __init__(self, checkpoint: TimmCheckpoint, *, headless: bool = False) -> None:
        self._checkpoint = checkpoint
        self._changes = {"num_classes": 0} if headless else {}
        super().__init__()
        self.data_config = self._data_config()
        self.is_classifier = bool(self.model.num_classes)

    def read_model(self, _: list[Any]) -> Any:
        """Have timm create and fill the network."""
        import timm
        from timm.layers import set_fused_attn

        # The exporters cannot convert all fused attention, and it is no faster in a graph.
        set_fused_attn(False)
        with repeated_random():
            return timm.create_model(f"local-dir:{self._checkpoint.folder}", pretrained=True, **self._changes)

    def probe(self) -> list[NDArray[np.float32]]:
        """Return the output for one image."""
        return [self.embed_pixels(probe_pixels(*self._data_config()["input_size"][1:]))]

    def describe(self, folder: Path) -> Description:
        """Describe the single tower: a classifier, or an image encoder if the model has no classifier layer."""
        image = preprocess_config_from_timm(self.data_config)

        def build(model: Any) -> ImageGraph:
            return ImageGraph(model, image.mean, image.std)

        tower = image_tower(
            self,
            (Candidate(recipe=recipe, build=build) for recipe in PLAIN_RECIPES),
            title="The model",
            role="classifier" if self.is_classifier else "image_encoder",
            output="logits" if self.is_classifier else "embedding",
            distance=compare_logits if self.is_classifier else compare,
        )
        return Description(
            architecture=self._checkpoint.architecture,
            towers=(tower,),
            preparation=Preparation(folder=folder, image=image),
            labels=labels_of(self.model.pretrained_cfg, self.model.num_classes) if self.is_classifier else (),
        )

    def pixels(self, images: Sequence[Any]) -> NDArray[np.float32]:
        """Prepare Pillow images in RGB for the network, float32 ``[B, 3, H, W]``."""
        import timm.data

        transform = timm.data.create_transform(**self.data_config, is_training=False)
        return np.stack([transform(image).numpy() for image in images])

    def run_image_tower(self, pixels: Any) -> Any:
        """Return logits or vectors, float32 ``[B, D]``."""
        return self.model(pixels)

    def _data_config(self) -> dict[str, Any]:
        import timm.data

        config: dict[str, Any] = timm.data.resolve_model_data_config(self.model)
        return config
