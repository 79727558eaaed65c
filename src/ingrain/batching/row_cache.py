"""Keeps the computed rows of all graphs in memory, within a limit of bytes."""

from __future__ import annotations

import itertools
from collections import OrderedDict

RowKey = tuple[int, bytes, bytes, int]
"""Identifies a row: the number of the cached graph, token ids, token type ids, tokens that pooling leaves out."""

# Measured: at most so many bytes for the key's tuple, the headers of three ``bytes`` and two slots of a dictionary.
_ENTRY_BYTES = 400
# Share of the bytes for rows that were used again.
_PROVEN_SHARE = 0.8


class RowCache:
    """Rows by key, with a limit of bytes that counts keys and overhead; not thread-safe.

    A segmented LRU (Karedla, Love and Wherry 1994): a new row is *on trial* and becomes *proven* when it is used. The
    oldest rows on trial are dropped first, so texts that come only once do not displace those that come often.

    Args:
        max_bytes: Limit of the bytes of all entries.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._max_proven = int(_PROVEN_SHARE * max_bytes)
        self._proven_bytes = 0
        self._trial: OrderedDict[RowKey, bytes] = OrderedDict()
        self._proven: OrderedDict[RowKey, bytes] = OrderedDict()
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._trial) + len(self._proven)

    def new_number(self) -> int:
        """Return a number for the keys of one graph that no other graph has, not even the same one loaded again."""
        return next(self._numbers)

    def get(self, key: RowKey) -> bytes | None:
        """Return the bytes of a row; None if it is not in the cache."""
        row = self._proven.get(key)
        if row is not None:
            self._proven.move_to_end(key)
            return row
        row = self._trial.pop(key, None)
        if row is not None:
            self._proven[key] = row
            self._proven_bytes += _size(key, row)
            while self._proven_bytes > self._max_proven:
                oldest, dropped = self._proven.popitem(last=False)
                self._proven_bytes -= _size(oldest, dropped)
                self._trial[oldest] = dropped
        return row

    def put(self, key: RowKey, row: bytes) -> None:
        """Add a row, and drop others if the limit is reached. A row that is in the cache already stays as it is."""
        size = _size(key, row)
        if size > self.max_bytes - self._max_proven or key in self._trial or key in self._proven:
            return
        self._trial[key] = row
        self.bytes += size
        while self.bytes > self.max_bytes:
            self.bytes -= _size(*self._trial.popitem(last=False))

    def forget(self, number: int) -> None:
        """Drop all rows of a graph; looks at all keys, which takes some 5 ms for 64 MiB of short texts."""
        for rows in (self._trial, self._proven):
            for key in [key for key in rows if key[0] == number]:
                size = _size(key, rows.pop(key))
                self.bytes -= size
                self._proven_bytes -= size if rows is self._proven else 0


def _size(key: RowKey, row: bytes) -> int:
    return _ENTRY_BYTES + len(key[1]) + len(key[2]) + len(row)
