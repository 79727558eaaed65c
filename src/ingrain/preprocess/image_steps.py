"""Applies a manifest's image steps with Pillow; pixels are equal to those of the source library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from ingrain.preprocess.tensor_resize import resize_pixels
from ingrain.repository.image_preprocess import CenterCrop, ImageStep, OnWhite, Resize, ResizeTensor, ToRgb

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}

# Memory for the weights of ResizeTensor, in pixels per row or column, rounded up.
_WEIGHTS = 64


@dataclass(frozen=True, slots=True)
class Effort:
    """Memory that steps need for an image of a given size, in pixels.

    Attributes:
        largest: Pixels of the largest intermediate image; 0 if an intermediate image has no pixels.
        total: Pixels of all intermediate images.
    """

    largest: int
    total: int


def effort_of(steps: Sequence[ImageStep], width: int, height: int) -> Effort:
    """Compute the memory that steps need, before the image is decoded.

    Pillow first resizes all rows to full width. So squashing an image that is one pixel wide and a million pixels high
    allocates a million full rows.
    """
    areas = [width * height]
    for step in steps:
        match step:
            case Resize() | ResizeTensor():
                new_width, new_height = resized_size(step, width, height)
                areas += [new_width * height, new_width * new_height]
                if isinstance(step, ResizeTensor):  # the weights, which count for a long and narrow image
                    areas += [_WEIGHTS * width, _WEIGHTS * height]
                width, height = new_width, new_height
            case CenterCrop():
                height, width = step.size
                areas.append(width * height)
    return Effort(max(areas) if min(areas) > 0 else 0, sum(areas))


def apply_steps(steps: Sequence[ImageStep], image: Image.Image) -> Image.Image:
    """Apply the steps in order."""
    for step in steps:
        match step:
            case ToRgb():
                image = image if image.mode == "RGB" else image.convert("RGB")
            case OnWhite():
                image = _on_white(image)
            case Resize() | ResizeTensor():
                image = _resize(image, step)
            case CenterCrop():
                image = _center_crop(image, step)
    return image


def resized_size(step: Resize | ResizeTensor, width: int, height: int) -> tuple[int, int]:
    """Return the ``(width, height)`` that a step resizes an image to."""
    target_height, target_width = step.size
    if step.mode == "squash":
        return target_width, target_height
    if step.mode == "shortest" and target_height == target_width:
        # Resize(int) of torchvision truncates the longer side.
        longer = int(target_width * max(width, height) / min(width, height))
        return (target_width, longer) if width <= height else (longer, target_height)
    # ResizeKeepRatio of timm and OpenCLIP rounds both sides, and halves to even.
    ratios = (height / target_height, width / target_width)
    ratio = min(ratios) if step.mode == "shortest" else max(ratios)
    return round(width / ratio), round(height / ratio)


def _resize(image: Image.Image, step: Resize | ResizeTensor) -> Image.Image:
    size = resized_size(step, *image.size)
    if size == image.size:
        return image
    if isinstance(step, ResizeTensor):
        return Image.fromarray(resize_pixels(np.asarray(image), *size, step.interpolation))
    return image.resize(size, _FILTERS[step.interpolation])


def _on_white(image: Image.Image) -> Image.Image:
    """Composite a transparent image on white, as ``convert_to_rgb`` of transformers does."""
    if "A" not in image.getbands() and image.info.get("transparency") is None:
        return image
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image.convert("RGBA"))


def _center_crop(image: Image.Image, step: CenterCrop) -> Image.Image:
    height, width = step.size
    missing_width, missing_height = max(0, width - image.width), max(0, height - image.height)
    if missing_width or missing_height:
        # If the padding is odd, the right and the bottom get one pixel more.
        border = (missing_width // 2, missing_height // 2, (missing_width + 1) // 2, (missing_height + 1) // 2)
        image = _pad(image, border, step.fill)
    if image.size == (width, height):
        return image
    offset = round if step.odd == "even" else math.floor
    left, top = offset((image.width - width) / 2), offset((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def _pad(image: Image.Image, border: tuple[int, int, int, int], fill: int | tuple[int, int, int]) -> Image.Image:
    """Pad by ``(left, top, right, bottom)`` pixels in the image's own mode, as torchvision's ``pad`` does."""
    bands = len(image.getbands())
    colour = (fill,) * bands if isinstance(fill, int) and bands > 1 else fill
    padded = ImageOps.expand(image, border, colour)
    if image.mode == "P":
        palette = image.getpalette()
        assert palette is not None
        padded.putpalette(palette)
    return padded
