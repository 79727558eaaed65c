"""Computes the source library's outputs for the images of a proof, and compares its prepared pixels with the server's.

The graph gets images prepared by the server's own code, so the proof also detects differences in resizing or cropping.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ingrain.errors import VerificationError
from ingrain.export.proof.compare import Arrays, Distance, Floats, References, check_answers, compare
from ingrain.export.proof.images import encoded_images
from ingrain.preprocess.image import ImagePreprocessor
from ingrain.repository.image_preprocess import ImagePreprocess, ToRgb

Pixels = NDArray[np.uint8]

# Allows for another order of operations in the source's normalization; a pixel that is off by one gives 50 times that.
_PIXEL_TOLERANCE = 1e-4


class ImageSource(Protocol):
    """A source that computes outputs for images."""

    def pixels(self, images: Sequence[Any]) -> Floats:
        """Prepare Pillow images for the network, float32 ``[B, 3, H, W]``."""
        ...

    def embed_pixels(self, pixels: Floats) -> Floats:
        """Return vectors or logits, float32 ``[B, D]``."""
        ...


@dataclass(frozen=True, kw_only=True)
class ImageReferences(References):
    """Images with the source's outputs.

    Attributes:
        prepared: The server's pixels, ``uint8 [N, H, W, 3]``, which equal the source's.
        alone: Number of images that the graph also gets alone; all are proved in batches.
    """

    outputs = "outputs for images"

    prepared: Pixels
    alone: int

    @property
    def axes(self) -> tuple[str, ...]:
        """Only the batch; an image's size is fixed."""
        return ("batch",)

    def batches(self) -> list[list[int]]:
        """Return batches of one, of three and of all images."""
        count = len(self.prepared)
        return [[number] for number in range(self.alone)] + [
            list(range(size)) for size in sorted({min(3, count), count})
        ]

    def arrays(self, numbers: Sequence[int], names: Sequence[str]) -> Arrays:
        """Return pixels, ``uint8 [B, H, W, 3]``, by the name of the graph's only input."""
        (name,) = names
        return {name: self.prepared[list(numbers)]}

    def sample(self, names: Sequence[str]) -> Arrays:
        """Return two images."""
        return self.arrays([0, 1], names)


def ask_image_source(
    source: ImageSource, config: ImagePreprocess, *, distance: Distance = compare, brief: bool = False
) -> ImageReferences:
    """Compute the source's outputs for the images of the proof.

    Args:
        source: The source.
        config: The exported image preprocessing.
        distance: How two outputs are compared.
        brief: True: use few images, for runs over hundreds of models.

    Raises:
        VerificationError: Our pixels differ from the source's.
        ExportError: The source's own output cannot be compared.
    """
    encoded = encoded_images(brief=brief)
    preprocessor = ImagePreprocessor(config)
    ours = np.stack([preprocessor.prepare(data) for data in encoded])
    theirs = source.pixels([_open(data, config) for data in encoded])
    _compare_pixels(ours, theirs, config)
    expected = check_answers(source.embed_pixels(theirs))
    return ImageReferences(expected=expected, prepared=ours, alone=1 if brief else len(expected), distance=distance)


def _open(data: bytes, config: ImagePreprocess) -> Image.Image:
    """Open an image as users of the source do; users of timm convert to RGB themselves."""
    image = Image.open(BytesIO(data))
    return image.convert("RGB") if isinstance(config.steps[0], ToRgb) else image


def _compare_pixels(ours: Pixels, theirs: Floats, config: ImagePreprocess) -> None:
    mean, std = np.array(config.mean, np.float32), np.array(config.std, np.float32)
    normalized = ((ours.astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2)
    if normalized.shape != theirs.shape:
        raise VerificationError(
            f"The prepared images have the shape {normalized.shape} instead of the source library's {theirs.shape}."
        )
    difference = float(np.abs(normalized - theirs).max())
    if difference > _PIXEL_TOLERANCE:
        raise VerificationError(
            f"The prepared images differ from the source library's by up to {difference:.2g} (normalized), so the "
            "model was not published."
        )
