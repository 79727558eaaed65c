"""Rows of several answers as one array or list."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingrain.client.answers import Rows
from ingrain.client.failures import unexpected


class Collected:
    """Rows in order, in no more memory than they need: a large array is made once, and filled.

    Args:
        expected: How many rows there may be. It is a hint: rows that never came are not handed out.
    """

    def __init__(self, expected: int | None) -> None:
        self._expected = expected
        self._lists: list[list[float]] = []
        self._arrays: list[NDArray[Any]] = []
        self._whole: NDArray[Any] | None = None
        self._filled = 0
        self._kind: tuple[object, ...] | None = None

    def add(self, rows: Rows) -> None:
        """Take the next rows in.

        Raises:
            UnexpectedAnswerError: They are not of the width or the kind of number of those before.
        """
        kind = (rows.dtype, rows.shape[1]) if isinstance(rows, np.ndarray) else (list, len(rows[0]))
        if self._kind not in (None, kind):
            raise unexpected("Vectors of one call differ in width or kind; was the model replaced meanwhile?")
        self._kind = kind
        if isinstance(rows, list):
            self._lists += rows
            return
        if self._whole is None:
            # All rows are kept in the one way that the first were, whatever length was told.
            if self._arrays or self._expected is None or len(rows) >= self._expected:
                self._arrays.append(rows)
                return
            self._whole = np.empty((self._expected, rows.shape[1]), rows.dtype)
        end = self._filled + len(rows)
        if end > len(self._whole):
            more = np.empty((max(len(self._whole), len(rows)), rows.shape[1]), rows.dtype)
            self._whole = np.concatenate([self._whole[: self._filled], more])
        self._whole[self._filled : end] = rows
        self._filled = end

    def all(self) -> Rows:
        """Return all rows."""
        if self._whole is not None:
            return self._whole if self._filled == len(self._whole) else self._whole[: self._filled].copy()
        if self._arrays:
            # Of an answer's own bytes numpy makes an array that cannot be written to; a caller gets one that can.
            whole: NDArray[Any] = np.concatenate(self._arrays)
            return whole
        return self._lists
