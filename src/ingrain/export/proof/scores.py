"""Compares a graph's scores with its source's: as probabilities, as raw scores, and by the order that they give."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from ingrain.errors import VerificationError
from ingrain.export.proof.compare import Floats, compare, relative_difference, softmax
from ingrain.export.proof.deviation import Deviation, Difference, Floors, ScoreLimits, Tolerance
from ingrain.repository.verification import Verification

RELATIVE_TOLERANCE = 1e-3
"""Largest allowed difference of raw scores, as a share of their size."""


def compare_scores(ours: Floats, theirs: Floats, *, independent: bool) -> Difference:
    """Return the difference between two rows of logits: as probabilities, and of the raw logits.

    Args:
        ours: Logits, float32 ``[K]``.
        theirs: As ``ours``.
        independent: True if each logit stands for itself (a reranker, a multi-label classifier).
    """
    probabilities = _sigmoid if independent or len(theirs) == 1 else softmax
    difference = np.abs(probabilities(ours) - probabilities(theirs)).max()
    return Difference(float(difference), compare(ours, theirs).cosine, relative_difference(ours, theirs))


@dataclass(slots=True)
class ScoreDeviation(Deviation):
    """The deviation of scores, whose order matters more than a cosine."""

    _sum_of_differences: float = 0.0
    _ours: list[NDArray[np.float32]] = field(default_factory=list)
    _theirs: list[NDArray[np.float32]] = field(default_factory=list)

    def add(self, to_source: Difference, to_itself: Difference) -> None:
        """Add one row."""
        Deviation.add(self, to_source, to_itself)
        self._sum_of_differences += to_source.absolute

    def add_rows(self, ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> None:
        """Keep the rows for the rank correlation."""
        self._ours.append(ours)
        self._theirs.append(theirs)

    @property
    def mean_difference(self) -> float:
        """Mean of the rows' largest differences, as probabilities."""
        return self._sum_of_differences / self.cases

    @property
    def rank_correlation(self) -> float:
        """Spearman's rank correlation with the source's scores; the least one over the classes."""
        return min(map(_spearman, np.stack(self._ours, axis=1), np.stack(self._theirs, axis=1)))

    def verification(
        self,
        *,
        tolerance: Tolerance,
        floors: Floors | None,
        padding_diff: float | None = None,
        tokenizer_cases: int = 0,
    ) -> Verification:
        """Return the manifest's record of the proof."""
        record = Deviation.verification(
            self, tolerance=tolerance, floors=floors, padding_diff=padding_diff, tokenizer_cases=tokenizer_cases
        )
        limits = None if floors is None else floors.scores
        return msgspec.structs.replace(
            record,
            mean_cosine_floor=None,
            min_cosine_floor=None,
            mean_abs_diff=self.mean_difference,
            mean_abs_diff_limit=None if limits is None else limits.mean_difference,
            rank_correlation=self.rank_correlation,
            rank_correlation_floor=None if limits is None else limits.rank_correlation,
        )

    def _check_floors(self, floors: Floors, what: str) -> None:
        limits: ScoreLimits = floors.scores
        order = self.rank_correlation
        if (
            order >= limits.rank_correlation
            and self.mean_difference <= limits.mean_difference
            and self.own_difference <= limits.own_difference
        ):
            return
        raise VerificationError(
            f"The graph's {what} have a rank correlation of {order:.4f} with the source library's and a mean "
            f"difference of {self.mean_difference:.4f} as probabilities (to themselves in other batches up to "
            f"{self.own_difference:.4f}), but at least {limits.rank_correlation} and at most {limits.mean_difference} "
            f"({limits.own_difference}) are required.",
            facts={
                **self._facts(),
                "rankCorrelation": order,
                "rankCorrelationFloor": limits.rank_correlation,
                "meanAbsDiff": self.mean_difference,
                "meanAbsDiffLimit": limits.mean_difference,
            },
        )


def _sigmoid(logits: Floats) -> NDArray[np.float64]:
    probabilities: NDArray[np.float64] = 1 / (1 + np.exp(-logits.astype(np.float64).clip(-700, 700)))
    return probabilities


def _spearman(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    """Return Spearman's rank correlation of two lists of numbers; equal numbers share the mean of their ranks."""
    a, b = _ranks(ours), _ranks(theirs)
    a, b = a - a.mean(), b - b.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size else float(np.array_equal(a, b))


def _ranks(numbers: NDArray[np.float32]) -> NDArray[np.float64]:
    _, places, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: NDArray[np.float64] = (last - (counts - 1) / 2)[places]
    return ranks
