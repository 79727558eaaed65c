"""References of sparse encoders: whole rows of weights, with which the chosen entries of a graph are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingrain.errors import VerificationError
from ingrain.export.proof.compare import Floats, compare
from ingrain.export.proof.deviation import Difference
from ingrain.export.proof.text_references import TextReferences


@dataclass(frozen=True, kw_only=True)
class SparseReferences(TextReferences):
    """Texts with the source's weights for each text alone, float32 ``[N, V]``."""

    outputs = "weights"

    @classmethod
    def of(cls, found: TextReferences) -> SparseReferences:
        """Return the references of texts, whose rows are weights."""
        given = {field.name: getattr(found, field.name) for field in fields(TextReferences)}
        return cls(**(given | {"distance": compare_weights, "measured": "share_of_largest_weight"}))

    @property
    def row_shape(self) -> tuple[int, ...]:
        """A row has as many entries as the text of its batch with the most."""
        return (-1,)

    def rows_of(self, outputs: Sequence[NDArray[Any]], count: int) -> Floats:
        """Return whole rows of the entries, float32 ``[B, V]``."""
        values, indices = outputs
        if values.shape != indices.shape or values.ndim != 2 or len(values) != count:
            raise VerificationError(
                f"The graph gives outputs of the shapes {values.shape} and {indices.shape} for {count} texts."
            )
        if indices.size and not (indices.min() >= 0 and indices.max() < self.width):
            raise VerificationError("The graph gives an index that is not one of the source's dimensions.")
        rows = np.zeros((count, self.width), np.float32)
        # Of an index that comes several times, the largest value counts. No weight is negative.
        np.maximum.at(rows, (np.arange(count)[:, None], indices), values)
        return rows


def compare_weights(ours: Floats, theirs: Floats) -> Difference:
    """Return the largest difference of a weight as a share of the text's largest weight, and the cosine."""
    cosine = compare(ours, theirs).cosine
    largest = float(np.abs(theirs).max())
    return Difference(float(np.abs(ours - theirs).max()) / (largest or 1.0), cosine)
