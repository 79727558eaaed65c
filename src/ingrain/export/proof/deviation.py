"""Accumulates the deviation of a graph's vectors from its source's, and refuses a graph that deviates too much."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingrain.errors import VerificationError
from ingrain.repository.verification import Verification
from ingrain.vocabulary import Role

# Largest difference between the lengths of a vector and the source's, as a share. Vectors are compared at unit length,
# which does not show it; the rounding of float32 is far below.
_LENGTHS_WITHIN = 0.01
_SMALLEST_LENGTH = 1e-6


class Difference(NamedTuple):
    """How far a row of a graph's output is from another row.

    Attributes:
        absolute: Largest difference of an element, in the quantity that has the tolerance.
        cosine: Cosine of the two rows.
        relative: Largest difference of a raw element, as a share of the row's size; 0 if the quantity has none.
    """

    absolute: float
    cosine: float
    relative: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """Largest differences for publishing a float32 graph.

    Attributes:
        absolute: Limit of ``Difference.absolute``.
        relative: Limit of ``Difference.relative``; None if the quantity has none.
        measured: What ``absolute`` is a difference of, as the manifest states it.
    """

    absolute: float
    relative: float | None = None
    measured: str = "unit_vectors"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreLimits:
    """Limits for publishing a graph of a lower precision whose outputs are scores.

    Attributes:
        rank_correlation: Floor of Spearman's rank correlation between the graph's scores and the source's.
        mean_difference: Limit of the mean difference, as probabilities.
        own_difference: Limit of the largest difference between scores computed in a batch and alone.
    """

    rank_correlation: float = 0.98
    mean_difference: float = 0.03
    own_difference: float = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Floors:
    """Least cosines for publishing a graph of a lower precision, and the limits for graphs without vectors.

    Attributes:
        mean_cosine: Floor of the mean cosine with the source's vectors.
        min_cosine: Floor of the smallest cosine with the source's vectors.
        own_cosine: Floor of the smallest cosine between a vector computed in a batch and the same one computed alone.
        scores: The limits for graphs whose outputs are scores instead of vectors.
    """

    mean_cosine: float
    min_cosine: float
    own_cosine: float
    scores: ScoreLimits = ScoreLimits()


Proofs = Mapping[Role, Verification]
"""Results of the proof of a graph, by the roles of its outputs."""

Prove = Callable[[Any, Floors | None], Proofs]
"""Compares an ``onnxruntime.InferenceSession`` with the source: by floors or, without them, by a tolerance."""


@dataclass(slots=True)
class Deviation:
    """The deviation of the rows compared so far.

    Attributes:
        cases: Number of rows.
        difference: Largest absolute difference to the source's row.
        own_difference: Largest absolute difference to the same row computed alone.
        relative: Largest relative difference to either.
        lengths: Largest difference between the lengths of a vector and the source's, as a share.
    """

    cases: int = 0
    difference: float = 0.0
    own_difference: float = 0.0
    relative: float = 0.0
    lengths: float = 0.0
    _min_cosine: float = 1.0
    _own_cosine: float = 1.0
    _sum_of_cosines: float = 0.0

    def add(self, to_source: Difference, to_itself: Difference) -> None:
        """Add one row.

        Args:
            to_source: How far it is from the source's row.
            to_itself: How far it is from the same row computed alone.
        """
        self.cases += 1
        self.difference = max(self.difference, to_source.absolute)
        self.own_difference = max(self.own_difference, to_itself.absolute)
        self.relative = max(self.relative, to_source.relative, to_itself.relative)
        self._min_cosine = min(self._min_cosine, to_source.cosine)
        self._own_cosine = min(self._own_cosine, to_itself.cosine)
        self._sum_of_cosines += to_source.cosine

    def add_rows(self, ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> None:
        """Add the raw row and the source's: a vector, or one for each token."""
        own, source = (np.linalg.norm(row.astype(np.float64), axis=-1) for row in (ours, theirs))
        differences = np.abs(own - source) / np.maximum(source, _SMALLEST_LENGTH)
        self.lengths = max(self.lengths, float(differences.max(initial=0.0)))

    @property
    def mean_cosine(self) -> float:
        """Mean cosine with the source's vectors."""
        return self._sum_of_cosines / self.cases

    def verification(
        self,
        *,
        tolerance: Tolerance,
        floors: Floors | None,
        padding_diff: float | None = None,
        tokenizer_cases: int = 0,
    ) -> Verification:
        """Return the manifest's record of the proof."""
        return Verification(
            max_abs_diff=self.difference,
            min_cosine=self._min_cosine,
            padding_diff=self.own_difference if padding_diff is None else padding_diff,
            cases=self.cases,
            tokenizer_cases=tokenizer_cases,
            tolerance=tolerance.absolute if floors is None else None,
            mean_cosine=self.mean_cosine,
            mean_cosine_floor=None if floors is None else floors.mean_cosine,
            min_cosine_floor=None if floors is None else floors.min_cosine,
            measured=tolerance.measured,
            max_relative_diff=None if tolerance.relative is None else self.relative,
            relative_tolerance=tolerance.relative if floors is None else None,
        )

    def check(self, tolerance: Tolerance, floors: Floors | None, *, what: str) -> None:
        """Raise if the deviation is larger than allowed."""
        if floors is not None:
            self._check_floors(floors, what)
            return
        worst, allowed = max(self.difference, self.own_difference), tolerance.absolute
        if not worst <= allowed:
            raise VerificationError(
                f"The graph's {what} differ from the source library's by up to {worst:.2g} (smallest cosine "
                f"{self._min_cosine:.6f}), but only {allowed:.2g} is allowed, so the model was not published.",
                facts={**self._facts(), "tolerance": allowed},
            )
        if tolerance.relative is not None and not self.relative <= tolerance.relative:
            raise VerificationError(
                f"The graph's raw {what} differ from the source library's by up to {self.relative:.2g} of their size, "
                f"but only {tolerance.relative:.2g} is allowed, so the model was not published.",
                facts={**self._facts(), "maxRelativeDiff": self.relative, "relativeTolerance": tolerance.relative},
            )
        if not self.lengths <= _LENGTHS_WITHIN:
            raise VerificationError(
                f"The graph's {what} are up to {self.lengths:.2g} of their length longer or shorter than the source "
                f"library's, but only {_LENGTHS_WITHIN} is allowed, so the model was not published.",
                facts=self._facts(),
            )

    def _check_floors(self, floors: Floors, what: str) -> None:
        reached = (
            self.mean_cosine >= floors.mean_cosine
            and self._min_cosine >= floors.min_cosine
            and self._own_cosine >= floors.own_cosine
        )
        if not reached:
            raise VerificationError(
                f"The graph's {what} have a mean cosine of {self.mean_cosine:.4f} with the source library's (smallest "
                f"{self._min_cosine:.4f}; with themselves in other batches {self._own_cosine:.4f}), but at least "
                f"{floors.mean_cosine} ({floors.min_cosine}; {floors.own_cosine}) is required.",
                facts={
                    **self._facts(),
                    "meanCosine": self.mean_cosine,
                    "meanCosineFloor": floors.mean_cosine,
                    "minCosineFloor": floors.min_cosine,
                },
            )

    def _facts(self) -> dict[str, object]:
        return {
            "maxAbsDiff": self.difference,
            "minCosine": self._min_cosine,
            "paddingDiff": self.own_difference,
        }
