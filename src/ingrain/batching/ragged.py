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
