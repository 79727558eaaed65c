"""How a model's images are resized and cropped, as ``GET /model_image_geometry`` tells it."""

from __future__ import annotations

from typing import Literal

import msgspec

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]


class ToRgb(msgspec.Struct, frozen=True, tag="to_rgb"):
    """Convert to RGB."""


class OnWhite(msgspec.Struct, frozen=True, tag="on_white"):
    """Lay the image on white where any of it may be transparent."""


class Resize(msgspec.Struct, frozen=True, tag="resize"):
    """Resize to ``(height, width)`` with Pillow's filter of that name.

    With ``shortest`` and ``longest`` the side of that name comes to the size and the other follows; ``squash`` does not
    keep the aspect ratio.
    """

    size: tuple[int, int]
    mode: Literal["shortest", "longest", "squash"]
    interpolation: Interpolation


class ResizeTensor(msgspec.Struct, frozen=True, tag="resize_tensor"):
    """Resize as torchvision does with tensors, with torch's antialiased filter of that name."""

    size: tuple[int, int]
    mode: Literal["shortest", "squash"]
    interpolation: Literal["bilinear", "bicubic", "lanczos"]


class CenterCrop(msgspec.Struct, frozen=True, tag="center_crop"):
    """Cut ``(height, width)`` out of the middle, padding with ``fill`` first where the image is smaller.

    ``odd`` tells where the odd pixel of what is cut off goes: ``even`` rounds the offset as torchvision does,
    ``behind`` cuts it down as transformers does.
    """

    size: tuple[int, int]
    fill: int | tuple[int, int, int] = 0
    odd: Literal["even", "behind"] = "even"


ImageStep = ToRgb | OnWhite | Resize | ResizeTensor | CenterCrop
