"""Vectors as the graph gives them, cut and brought to unit length as the caller wants them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_SMALLEST_NORM = 1e-12
# As near to one as float32 tells the square of a vector's length.
_UNIT_WITHIN = 1e-6


def finish(rows: NDArray[np.float32], *, dimensions: int | None, normalize: bool) -> NDArray[np.float32]:
    """Cut vectors to their first dimensions, then bring them to unit length; the order matters.

    Args:
        rows: ``float32 [N, D]``.
        dimensions: Leading dimensions to keep, at most ``D``; all if None.
        normalize: True for unit length. A vector of zeros stays one, as in ``torch.nn.functional.normalize``.

    Returns:
        ``float32 [N, dimensions or D]``, contiguous; ``rows`` itself where nothing is to be done, as for vectors whose
        length is one already.
    """
    if dimensions is not None and dimensions < rows.shape[1]:
        rows = rows[:, :dimensions]
    if normalize:
        # Row by row: the sum is then the same to the last bit, however many rows there are, and cheap for one. They are
        # asked for by index: numpy ends an iteration by an exception, which takes longer than the sum of a row.
        squares = [float(row.dot(row)) for row in map(rows.__getitem__, range(len(rows)))]
        for square in squares:
            # Most models bring their vectors to unit length themselves; there is nothing to do then.
            if not -_UNIT_WITHIN <= square - 1.0 <= _UNIT_WITHIN:
                norms = [max(math.sqrt(square), _SMALLEST_NORM) for square in squares]
                rows = rows / np.array(norms, np.float32)[:, None]
                break
    return np.ascontiguousarray(rows)
