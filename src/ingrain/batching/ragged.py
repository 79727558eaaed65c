"""Rows of different lengths: an array of objects, one array for each item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ragged = NDArray[Any]
"""Rows of different lengths, ``object [N]``; each is ``float32 [n, …]``."""


def ragged(rows: Sequence[NDArray[np.float32]]) -> Ragged:
    """Return rows as one array of objects."""
    joined = np.empty(len(rows), object)
    for place, row in enumerate(rows):  # an assignment of all rows at once would unpack those of equal length
        joined[place] = row
    return joined


def entries_of(values: NDArray[np.float32], indices: NDArray[np.int32]) -> Ragged:
    """Return the entries of each row of a batch without the zeros that fill it up.

    Args:
        values: ``float32 [B, K]``.
        indices: ``int32 [B, K]``, below 2**24, which ``float32`` has exactly.

    Returns:
        ``object [B]`` of ``float32 [n, 2]``: index and value of each entry.
    """
    is_active = values != 0
    entries = np.stack([indices[is_active].astype(np.float32), values[is_active]], axis=1)
    ends = np.cumsum(is_active.sum(axis=1))
    return ragged(np.split(entries, ends[:-1]))
