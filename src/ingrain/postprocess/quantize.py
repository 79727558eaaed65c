"""Quantizes vectors to bytes or bits as sentence-transformers does."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

OutputDtype = Literal["float", "int8", "uint8", "binary", "ubinary"]
AnyVectors = NDArray[np.generic]

NEEDS_RANGES = ("int8", "uint8")
"""Output types that need the range of each dimension."""


def quantize(rows: NDArray[np.float32], dtype: OutputDtype, ranges: NDArray[np.float32] | None) -> AnyVectors:
    """Quantize finished vectors as ``sentence_transformers.util.quantize_embeddings`` (6.2) does.

    Args:
        rows: ``float32 [N, D]``, already cut and normalized.
        dtype: ``int8`` and ``uint8`` split the range of each dimension into 256 buckets; values outside go into the
            first or last bucket. ``ubinary`` packs the signs of eight dimensions into a byte, the first dimension in
            the highest bit; ``binary`` subtracts 128 from this byte.
        ranges: ``float32 [2, D]``, lower and upper bound of each dimension; required for ``int8`` and ``uint8``.

    Returns:
        ``[N, D]`` of ``float32``, ``int8`` or ``uint8``; for bits ``[N, ceil(D / 8)]`` of ``int8`` or ``uint8``.
    """
    if dtype == "float":
        return rows
    if dtype in NEEDS_RANGES:
        assert ranges is not None
        lower = ranges[0]
        steps = (ranges[1] - lower) / 255
        steps = np.where(steps == 0, 1, steps)
        buckets: NDArray[np.float32] = np.clip(np.floor((rows - lower) / steps), 0, 255)
        return buckets.astype(np.uint8) if dtype == "uint8" else (buckets - 128).astype(np.int8)
    bits = np.packbits(rows > 0, axis=-1)
    return bits if dtype == "ubinary" else (bits.astype(np.int16) - 128).astype(np.int8)
