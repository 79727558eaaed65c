"""Scales the columns of a value to similar ranges, so that one int8 scale fits them all.

In a transformer, a few columns of the activations are ten times as large as the others, which one common scale would
leave with only a few int8 steps. As in SmoothQuant (Xiao et al., 2023), each column is divided by a factor and the
corresponding row of weights is multiplied by it, which moves part of the difficulty from values to weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_SHARE = 0.6  # SmoothQuant's alpha, the share of difficulty moved to the weights; 0.5 to 0.7 are as good on MiniLM
_SMALLEST = np.float32(1e-3)  # least size relative to the largest: other texts may use columns that the sample did not


@dataclass(frozen=True, slots=True)
class Range:
    """Measured ranges of the columns of one or more values.

    Attributes:
        least: Smallest element of each column, float32 ``[K]``.
        most: Largest element of each column, float32 ``[K]``.
    """

    least: Floats
    most: Floats

    @staticmethod
    def of_all(ranges: Sequence[Range]) -> Range:
        """Return the union of ranges."""
        return Range(np.min([one.least for one in ranges], axis=0), np.max([one.most for one in ranges], axis=0))

    def factors(self, matrices: Sequence[Floats]) -> Floats:
        """Return the divisor of each column, float32 ``[K]``.

        Args:
            matrices: All weights that the values are multiplied with, each float32 ``[K, N]``.
        """
        values = _not_tiny(np.maximum(np.abs(self.least), np.abs(self.most)))
        weights = _not_tiny(np.max([np.abs(matrix).max(axis=1) for matrix in matrices], axis=0))
        factors = np.exp(_SHARE * np.log(values) - (1 - _SHARE) * np.log(weights))
        return np.asarray(factors / np.exp(np.log(factors).mean()), np.float32)

    def divided(self, factors: Floats) -> Range:
        """Return the range of the columns divided by their factors."""
        return Range(self.least / factors, self.most / factors)

    def steps(self) -> tuple[np.float32, np.uint8]:
        """Return the common step size of all columns (255 steps), and the byte that represents zero."""
        least, most = min(float(self.least.min()), 0.0), max(float(self.most.max()), 0.0)
        step = max(most - least, 1e-12) / 255
        return np.float32(step), np.uint8(round(-least / step))


def _not_tiny(sizes: Floats) -> Floats:
    largest = sizes.max()
    return np.maximum(sizes, _SMALLEST * largest) if largest > 0 else np.ones_like(sizes)
