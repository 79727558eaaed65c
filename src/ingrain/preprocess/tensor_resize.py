"""Resizes ``uint8`` pixels bit for bit as torch does with antialiasing, without torch.

Torch (``aten/native/cpu/UpSampleKernel.cpp``) uses Pillow's algorithm, rows first, but with 16-bit integer weights
instead of weights with 22 fractional bits. So one pixel in a few hundred differs from Pillow's by 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingrain.repository.image_preprocess import TensorInterpolation

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]

_OUTPUTS_AT_ONCE = 16
# OpenBLAS starts threads above this many multiplications, which would compete with the server's own threads.
_MOST_MULTIPLICATIONS = 250_000


def resize_pixels(pixels: Pixels, width: int, height: int, interpolation: TensorInterpolation) -> Pixels:
    """Resize ``uint8 [H, W, 3]`` to ``uint8 [height, width, 3]``."""
    if width != pixels.shape[1]:
        pixels = _resize_first_axis(pixels.transpose(1, 0, 2), width, interpolation).transpose(1, 0, 2)
    if height != pixels.shape[0]:
        pixels = _resize_first_axis(pixels, height, interpolation)
    return pixels


def _resize_first_axis(pixels: Pixels, target: int, interpolation: TensorInterpolation) -> Pixels:
    """Resize ``uint8 [N, M, 3]`` to ``[target, M, 3]``, in strips, to keep temporary arrays small.

    All sums are integers below 2 ** 53, so float64 arithmetic is exact in any order of addition.
    """
    length, across, channels = pixels.shape
    blocks, precision = _weights(length, target, interpolation)
    strip = max(1, _MOST_MULTIPLICATIONS // (channels * max(block.weights.size for block in blocks)))
    resized = np.empty((target, across, channels), np.uint8)
    for start in range(0, across, strip):
        columns = pixels[:, start : start + strip].reshape(length, -1).astype(np.float64)
        sums = np.empty((target, columns.shape[1]))
        for block in blocks:
            np.matmul(block.weights, columns[block.taps], out=sums[block.outputs])
        sums += 1 << (precision - 1)
        sums *= 0.5**precision
        np.clip(np.floor(sums, out=sums), 0, 255, out=sums)
        resized[:, start : start + strip] = sums.reshape(target, -1, channels)
    return resized


@dataclass(frozen=True, slots=True)
class _Block:
    """Adjacent outputs, the range of inputs that they depend on, and their weights, ``float64 [outputs, taps]``."""

    outputs: slice
    taps: slice
    weights: Floats


def _weights(length: int, target: int, interpolation: TensorInterpolation) -> tuple[list[_Block], int]:
    """Return integer weights, and the number of their fractional bits."""
    blocks = list(_blocks(length, target, interpolation))
    largest = max(float(block.weights.max()) for block in blocks)
    bits = 0  # the largest number that keeps every weight below 2 ** 15
    while bits < 22 and int(0.5 + largest * (1 << (bits + 1))) < 1 << 15:
        bits += 1
    for block in blocks:
        halves = np.where(block.weights < 0, -0.5, 0.5)
        block.weights[:] = np.trunc(block.weights * (1 << bits) + halves)
    return blocks, bits


def _blocks(length: int, target: int, interpolation: TensorInterpolation) -> Iterator[_Block]:
    scale = length / target
    filtered, radius = _FILTERS[interpolation]
    stretch = max(scale, 1.0)
    for start in range(0, target, _OUTPUTS_AT_ONCE):
        outputs = np.arange(start, min(start + _OUTPUTS_AT_ONCE, target))
        centers = scale * (outputs + 0.5)
        first = np.maximum((centers - radius * stretch + 0.5).astype(np.int64), 0)
        end = np.minimum((centers + radius * stretch + 0.5).astype(np.int64), length)
        taps = np.arange((end - first).max())
        inside = taps < (end - first)[:, None]
        real = np.where(inside, filtered((taps + first[:, None] - centers[:, None] + 0.5) * (1 / stretch)), 0.0)
        real /= real.cumsum(axis=1)[:, -1:]  # summed in order, as torch does
        weights = np.zeros((len(outputs), int(end.max() - first.min())))
        row, tap = np.nonzero(inside)
        weights[row, tap + (first - first.min())[row]] = real[row, tap]
        yield _Block(slice(start, start + len(outputs)), slice(int(first.min()), int(end.max())), weights)


def _bicubic(x: Floats) -> Floats:
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _bilinear(x: Floats) -> Floats:
    return np.maximum(1 - np.abs(x), 0.0)


def _lanczos(x: Floats) -> Floats:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)


_FILTERS: dict[TensorInterpolation, tuple[Callable[[Floats], Floats], int]] = {
    "bilinear": (_bilinear, 1),
    "bicubic": (_bicubic, 2),
    "lanczos": (_lanczos, 3),
}
