"""Collects the rows of several responses into one array or list."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingrain.client.answers import Rows
from ingrain.client.failures import unexpected


class Collected:
    """Collects rows in order; allocates a large array once and fills it.

    Args:
        expected: Expected number of rows. The result has only the rows that were added.
    """

    def __init__(self, expected: int | None) -> None:
        self._expected = expected
        self._lists: list[list[float]] = []
        self._arrays: list[NDArray[Any]] = []
        self._whole: NDArray[Any] | None = None
        self._filled = 0
        self._kind: tuple[object, ...] | None = None

    def add(self, rows: Rows) -> None:
        """Append rows.

        Raises:
            UnexpectedAnswerError: Width or dtype differ from the earlier rows.
        """
        is_vector = not isinstance(rows, np.ndarray) and isinstance(rows[0], list)
        kind = (rows.dtype, rows.shape[1]) if isinstance(rows, np.ndarray) else (list, len(rows[0]) if is_vector else 0)
        if self._kind not in (None, kind):
            raise unexpected("Vectors of one call differ in width or kind; was the model replaced meanwhile?")
        self._kind = kind
        if isinstance(rows, list):
            self._lists += rows
            return
        if self._whole is None:
            # The first rows decide whether all rows are kept as separate arrays.
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
            return self._arrays[0] if len(self._arrays) == 1 else np.concatenate(self._arrays)
        return self._lists
