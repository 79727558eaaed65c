"""Rows of different lengths: an array of objects, one array for each item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingrain.batching.request import Rows

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
        indices: ``int32 [B, K]``, below 2**24, which ``float32`` has exactly. Of an index that a row has several times,
            the largest value counts.

    Returns:
        ``object [B]`` of ``float32 [n, 2]``: index and value of each entry, ascending by index.
    """
    count = len(values)
    rows, columns = np.nonzero(values)
    indices, values = indices[rows, columns], values[rows, columns]
    is_new_row = rows[1:] != rows[:-1]
    if not (is_new_row | (indices[1:] > indices[:-1])).all():
        order = np.lexsort((values, indices, rows))
        rows, indices, values = rows[order], indices[order], values[order]
        is_last = np.append((rows[1:] != rows[:-1]) | (indices[1:] != indices[:-1]), True)
        rows, indices, values = rows[is_last], indices[is_last], values[is_last]
    entries = np.stack([indices.astype(np.float32), values], axis=1)
    return ragged(np.split(entries, np.searchsorted(rows, np.arange(1, count))))


def join_rows(kinds: Sequence[Rows]) -> Ragged:
    """Join rows of several kinds into one flat row for each item, which the cache can hold.

    Args:
        kinds: For each kind its rows, ``float32 [N, D]`` or ``object [N]`` of ``float32 [n, D]``.

    Returns:
        ``object [N]`` of ``float32 [...]``: the number of vectors of each kind, then their numbers.
    """
    joined = []
    for own in zip(*kinds, strict=True):
        counts = np.array([1 if vectors.ndim == 1 else len(vectors) for vectors in own], np.float32)
        joined.append(np.concatenate([counts, *(vectors.ravel() for vectors in own)]))
    return ragged(joined)


def split_rows(rows: Ragged, widths: Sequence[int]) -> list[Ragged]:
    """Split what ``join_rows`` has joined.

    Args:
        rows: The flat rows.
        widths: Width of the vectors of each kind.

    Returns:
        For each kind its rows, ``object [N]`` of ``float32 [n, D]``.
    """
    kinds: list[list[NDArray[np.float32]]] = [[] for _ in widths]
    for row in rows:
        start = len(widths)
        for kind, count, width in zip(kinds, row[:start].astype(int), widths, strict=True):
            end = start + count * width
            kind.append(row[start:end].reshape(count, width))
            start = end
    return [ragged(kind) for kind in kinds]
