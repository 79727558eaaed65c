"""The steps that resize and crop a model's images, as in ``GET /model_image_geometry``."""

from __future__ import annotations

from typing import Literal

import msgspec

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]


class ToRgb(msgspec.Struct, frozen=True, tag="to_rgb"):
    """Convert to RGB."""


class OnWhite(msgspec.Struct, frozen=True, tag="on_white"):
    """Compose an image that has transparency on a white background."""


class Resize(msgspec.Struct, frozen=True, tag="resize"):
    """Resize to ``(height, width)`` with Pillow's filter of that name.

    ``shortest`` and ``longest`` resize that side to the size and keep the aspect ratio; ``squash`` resizes both sides.
    """

    size: tuple[int, int]
    mode: Literal["shortest", "longest", "squash"]
    interpolation: Interpolation


class ResizeTensor(msgspec.Struct, frozen=True, tag="resize_tensor"):
    """Resize like torchvision resizes tensors, with torch's antialiased filter of that name."""

    size: tuple[int, int]
    mode: Literal["shortest", "squash"]
    interpolation: Literal["bilinear", "bicubic", "lanczos"]


class CenterCrop(msgspec.Struct, frozen=True, tag="center_crop"):
    """Crop the center to ``(height, width)``; first pad a smaller image with ``fill``.

    ``odd`` is the rounding of an offset of n + 1/2: ``even`` rounds half to even like torchvision, ``behind`` rounds
    down like transformers.
    """

    size: tuple[int, int]
    fill: int | tuple[int, int, int] = 0
    odd: Literal["even", "behind"] = "even"


ImageStep = ToRgb | OnWhite | Resize | ResizeTensor | CenterCrop
