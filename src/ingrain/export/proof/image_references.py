"""Has a source library embed the images of a proof, and compares its pixels with those that serving prepares.

The images go through the very code that serves them, so that a difference in resizing or cropping shows as well.
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
from ingrain.repository.manifest import ImagePreprocess, ToRgb

Pixels = NDArray[np.uint8]

# The source normalizes in another order of operations than we check in; a pixel that is off by one is 50 times that.
_PIXEL_TOLERANCE = 1e-4


class ImageSource(Protocol):
    """The source library's own way from images to its output."""

    def pixels(self, images: Sequence[Any]) -> Floats:
        """Return what its network gets of Pillow images, float32 ``[B, 3, H, W]``."""
        ...

    def embed_pixels(self, pixels: Floats) -> Floats:
        """Return vectors or logits, float32 ``[B, D]``."""
        ...


@dataclass(frozen=True, kw_only=True)
class ImageReferences(References):
    """Images with what the source answers.

    Attributes:
        prepared: Our pixels, ``uint8 [N, H, W, 3]``, found equal to the source's.
        alone: How many of them the graph gets alone too; all of them are proved in batches.
    """

    outputs = "outputs for pictures"

    prepared: Pixels
    alone: int

    @property
    def axes(self) -> tuple[str, ...]:
        """The batch alone: an image's size is fixed."""
        return ("batch",)

    def batches(self) -> list[list[int]]:
        """Return batches of one, of three and of all images."""
        count = len(self.prepared)
        return [[number] for number in range(self.alone)] + [
            list(range(size)) for size in sorted({min(3, count), count})
        ]

    def arrays(self, numbers: Sequence[int], names: Sequence[str]) -> Arrays:
        """Return pixels, ``uint8 [B, H, W, 3]``, by the graph's one input."""
        (name,) = names
        return {name: self.prepared[list(numbers)]}

    def sample(self, names: Sequence[str]) -> Arrays:
        """Return two images."""
        return self.arrays([0, 1], names)


def ask_image_source(
    source: ImageSource, config: ImagePreprocess, *, distance: Distance = compare, brief: bool = False
) -> ImageReferences:
    """Have the source answer for the images of the proof.

    Args:
        source: The source.
        config: The exported geometry.
        distance: How two answers are compared.
        brief: True for few images, where hundreds of models are compared.

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
    """Open an image as users of the source do; timm takes RGB only, so that conversion is theirs."""
    image = Image.open(BytesIO(data))
    return image.convert("RGB") if isinstance(config.steps[0], ToRgb) else image


def _compare_pixels(ours: Pixels, theirs: Floats, config: ImagePreprocess) -> None:
    mean, std = np.array(config.mean, np.float32), np.array(config.std, np.float32)
    normalized = ((ours.astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2)
    if normalized.shape != theirs.shape:
        raise VerificationError(
            f"The prepared pictures have the shape {normalized.shape}, and {theirs.shape} is right."
        )
    difference = float(np.abs(normalized - theirs).max())
    if difference > _PIXEL_TOLERANCE:
        raise VerificationError(
            f"The prepared pictures differ from the source library's by up to {difference:.2g} (normalized), so the "
            "model was not published."
        )
