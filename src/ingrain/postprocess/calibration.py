"""Computes the range of each vector dimension, for quantization to int8, from the calibration sample of an export."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from ingrain.postprocess.vectors import finish

_FORMS_KEPT = 16


class CalibrationRanges:
    """Computes and caches ranges of a model's vectors, by number of dimensions and normalization.

    Keeps the sample's vectors, because the ranges of vectors that are cut and then normalized differ for every number
    of dimensions.

    Args:
        vectors: ``float32 [S, D]``, the graph's output for the calibration sample.
    """

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self._vectors = vectors
        self._known: OrderedDict[tuple[int | None, bool], NDArray[np.float32]] = OrderedDict()

    def ranges(self, *, dimensions: int | None, normalize: bool) -> NDArray[np.float32]:
        """Return the lower and upper bound of each dimension, ``float32 [2, dimensions or D]``.

        Args:
            dimensions: Number of leading dimensions to keep; all if None.
            normalize: Whether vectors are normalized to unit length.
        """
        key = (dimensions, normalize)
        known = self._known.get(key)
        if known is None:
            rows = finish(self._vectors, dimensions=dimensions, normalize=normalize)
            known = self._known[key] = np.stack([rows.min(axis=0), rows.max(axis=0)])
            if len(self._known) > _FORMS_KEPT:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return known
