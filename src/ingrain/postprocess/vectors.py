"""Cuts vectors to fewer dimensions and normalizes them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_SMALLEST_NORM = 1e-12
# Rounding error of the squared length of a unit vector in float32.
_UNIT_WITHIN = 1e-6
_MANY_ROWS = 8


def finish(rows: NDArray[np.float32], *, dimensions: int | None, normalize: bool) -> NDArray[np.float32]:
    """Cut vectors to their first dimensions, then normalize them; the order matters.

    Args:
        rows: ``float32 [N, D]``.
        dimensions: Number of leading dimensions to keep; all if None.
        normalize: Whether to normalize to unit length. Zeros stay zeros, as in ``torch.nn.functional.normalize``.

    Returns:
        ``float32 [N, dimensions or D]``, contiguous; ``rows`` itself if nothing changes.
    """
    if dimensions is not None and dimensions < rows.shape[1]:
        rows = rows[:, :dimensions]
    if normalize and not (len(rows) > _MANY_ROWS and _all_are_unit(rows)):
        # Row by row, so that a sum does not depend on the number of rows, and one row is cheap. Iterate by index: numpy
        # ends an iteration over rows with an exception, which takes longer than the sum of a row.
        squares = [float(row.dot(row)) for row in map(rows.__getitem__, range(len(rows)))]
        for square in squares:
            # Skip vectors that the model has normalized itself, as most models do.
            if not -_UNIT_WITHIN <= square - 1.0 <= _UNIT_WITHIN:
                norms = [max(math.sqrt(square), _SMALLEST_NORM) for square in squares]
                rows = rows / np.array(norms, np.float32)[:, None]
                break
    return np.ascontiguousarray(rows)


def _all_are_unit(rows: NDArray[np.float32]) -> bool:
    """Return True if the length of every row is certainly 1, whatever the order in which its squares are added."""
    squares = np.einsum("nd,nd->n", rows, rows)
    return bool((np.abs(squares - 1.0) <= _UNIT_WITHIN / 2).all())
