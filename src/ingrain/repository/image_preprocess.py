"""Describes how images are prepared for a graph: the part of the manifest that says it."""

from __future__ import annotations

from typing import Literal

import msgspec

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
TensorInterpolation = Literal["bilinear", "bicubic", "lanczos"]


class ToRgb(msgspec.Struct, frozen=True, tag="to_rgb"):
    """Convert to RGB as the source library does; the order of the steps matters for palettes and alpha."""


class OnWhite(msgspec.Struct, frozen=True, tag="on_white"):
    """Put an image with transparency on a white background, as transformers' image processors do."""


class Resize(msgspec.Struct, frozen=True, tag="resize"):
    """Resize to ``(height, width)``.

    Attributes:
        size: Target; with ``shortest`` and ``longest`` that side gets this length and the other keeps the ratio:
            cut to whole pixels for ``shortest`` with a square target (torchvision's ``Resize``), else rounded (timm's
            and OpenCLIP's ``ResizeKeepRatio``).
        mode: ``shortest`` and ``longest`` keep the aspect ratio, ``squash`` does not.
        interpolation: Pillow's filter of that name.
    """

    size: tuple[int, int]
    mode: Literal["shortest", "longest", "squash"]
    interpolation: Interpolation


class ResizeTensor(msgspec.Struct, frozen=True, tag="resize_tensor"):
    """Resize an RGB image to ``(height, width)`` as torchvision does with tensors, whose pixels differ from Pillow's.

    Attributes:
        size: As in ``Resize``; square where the mode is ``shortest``.
        mode: As in ``Resize``.
        interpolation: Torch's antialiased filter of that name.
    """

    size: tuple[int, int]
    mode: Literal["shortest", "squash"]
    interpolation: TensorInterpolation


class CenterCrop(msgspec.Struct, frozen=True, tag="center_crop"):
    """Crop the centre, padding with ``fill`` first where the image is smaller.

    Attributes:
        size: ``(height, width)`` to cut out.
        fill: Colour of the padding; one number applies to every band of the image's mode at this step, so 0 is the
            first colour of a palette, transparent in RGBA and white in CMYK.
        odd: Rounding of the offset: ``even`` rounds halves to the even number as torchvision does, ``behind`` rounds
            down as transformers does.
    """

    size: tuple[int, int]
    fill: int | tuple[int, int, int] = 0
    odd: Literal["even", "behind"] = "even"


ImageStep = ToRgb | OnWhite | Resize | ResizeTensor | CenterCrop


class ImagePreprocess(msgspec.Struct, frozen=True):
    """Preprocessing of images into ``uint8 [H, W, 3]``. Scaling by 255, mean and standard deviation are in the graph.

    Attributes:
        size: ``(height, width)`` of the graph's input.
        steps: The source library's resizing and cropping, in its order.
        mean: By channel, of pixels in 0 to 1; the graph subtracts it.
        std: By channel; the graph then divides by it.
    """

    size: tuple[int, int]
    steps: tuple[ImageStep, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
