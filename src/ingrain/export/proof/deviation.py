"""Accumulates the deviation of a graph's vectors from its source's, and refuses a graph that deviates too much."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ingrain.errors import VerificationError
from ingrain.repository.manifest import Verification


@dataclass(frozen=True, slots=True, kw_only=True)
class Floors:
    """Least cosines for publishing a graph of a lower precision.

    Attributes:
        mean_cosine: Floor of the mean cosine with the source's vectors.
        min_cosine: Floor of the smallest cosine with the source's vectors.
        own_cosine: Floor of the smallest cosine between a vector computed in a batch and the same one computed alone.
    """

    mean_cosine: float
    min_cosine: float
    own_cosine: float


Prove = Callable[[Any, Floors | None], Verification]
"""Compares an ``onnxruntime.InferenceSession`` with the source: by floors or, without them, by a tolerance."""


@dataclass(slots=True)
class Deviation:
    """The deviation of the vectors compared so far, at unit length.

    Attributes:
        cases: Number of vectors.
        difference: Largest difference of an element to the source's vector.
        own_difference: Largest difference of an element to the same vector computed alone.
    """

    cases: int = 0
    difference: float = 0.0
    own_difference: float = 0.0
    _min_cosine: float = 1.0
    _own_cosine: float = 1.0
    _sum_of_cosines: float = 0.0

    def add(self, to_source: tuple[float, float], to_itself: tuple[float, float]) -> None:
        """Add one vector.

        Args:
            to_source: Largest difference of an element to the source's vector, and the cosine with it.
            to_itself: The same for this vector and the one that was computed alone.
        """
        self.cases += 1
        self.difference = max(self.difference, to_source[0])
        self.own_difference = max(self.own_difference, to_itself[0])
        self._min_cosine = min(self._min_cosine, to_source[1])
        self._own_cosine = min(self._own_cosine, to_itself[1])
        self._sum_of_cosines += to_source[1]

    @property
    def mean_cosine(self) -> float:
        """Mean cosine with the source's vectors."""
        return self._sum_of_cosines / self.cases

    def verification(
        self, *, tolerance: float, floors: Floors | None, padding_diff: float | None = None, tokenizer_cases: int = 0
    ) -> Verification:
        """Return the manifest's record of the proof."""
        return Verification(
            max_abs_diff=self.difference,
            min_cosine=self._min_cosine,
            padding_diff=self.own_difference if padding_diff is None else padding_diff,
            cases=self.cases,
            tokenizer_cases=tokenizer_cases,
            tolerance=tolerance if floors is None else None,
            mean_cosine=self.mean_cosine,
            mean_cosine_floor=None if floors is None else floors.mean_cosine,
            min_cosine_floor=None if floors is None else floors.min_cosine,
        )

    def check(self, tolerance: float, floors: Floors | None, *, what: str) -> None:
        """Raise if the deviation is larger than allowed."""
        if floors is not None:
            self._check_floors(floors, what)
            return
        worst = max(self.difference, self.own_difference)
        if not worst <= tolerance:
            raise VerificationError(
                f"The graph's {what} differ from the source library's by up to {worst:.2g} (smallest cosine "
                f"{self._min_cosine:.6f}), but only {tolerance:.2g} is allowed, so the model was not published.",
                facts={**self._facts(), "tolerance": tolerance},
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
