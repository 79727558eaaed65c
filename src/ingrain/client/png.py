"""Encode an array as a PNG file, without Pillow, which a bare installation lacks."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# PNG specification, table 11.1: grey, grey with alpha, RGB, RGB with alpha.
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
# On one machine or a fast network, better compression costs more time than it saves.
_COMPRESSION = 1


def encode_png(pixels: NDArray[Any]) -> bytes:
    """Return an array's pixels as a PNG file, without loss.

    Args:
        pixels: ``uint8 [H, W]`` (grey) or ``uint8 [H, W, C]`` with 1 to 4 channels: grey, grey with alpha, RGB, RGBA.

    Raises:
        ValueError: The array has another shape or dtype, or no pixels.
    """
    array = pixels[:, :, None] if pixels.ndim == 2 else pixels
    if pixels.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in _COLOUR_TYPES or not array.size:
        raise ValueError(
            f"an array of {pixels.dtype} {list(pixels.shape)} is no picture: uint8 [H, W] or uint8 [H, W, C] with 1 to "
            "4 channels is one"
        )
    height, width, channels = array.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # a zero before each row: no filter
    rows[:, 1:] = array.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    data = zlib.compress(rows.tobytes(), _COMPRESSION)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
