"""Sparse vectors: from the outputs of a graph to the entries that a request asks for."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from ingrain.batching.ragged import Ragged, ragged


class SparseVector(msgspec.Struct, frozen=True, eq=False):
    """The entries of one vector that are not zero, ascending by index.

    Attributes:
        indices: ``int32 [n]``.
        values: ``float32 [n]``.
    """

    indices: NDArray[np.int32]
    values: NDArray[np.float32]


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
