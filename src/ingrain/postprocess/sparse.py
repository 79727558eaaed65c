"""Chooses the entries of sparse vectors that a request asks for."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray


class SparseVector(msgspec.Struct, frozen=True, eq=False):
    """The entries of one vector that are not zero, ascending by index.

    Attributes:
        indices: ``int32 [n]``.
        values: ``float32 [n]``.
    """

    indices: NDArray[np.int32]
    values: NDArray[np.float32]


def choose_entries(entries: NDArray[np.float32], *, top_k: int | None, min_weight: float) -> SparseVector:
    """Return the entries that a request asks for.

    Args:
        entries: ``float32 [n, 2]``: index and value.
        top_k: Number of entries of largest absolute value to keep, of equal ones the first; None for all.
        min_weight: Least absolute value of an entry.
    """
    if min_weight > 0:
        entries = entries[np.abs(entries[:, 1]) >= min_weight]
    if top_k is not None and len(entries) > top_k:
        largest = np.argsort(-np.abs(entries[:, 1]), kind="stable")[:top_k]
        entries = entries[np.sort(largest)]
    return SparseVector(entries[:, 0].astype(np.int32), np.ascontiguousarray(entries[:, 1]))
