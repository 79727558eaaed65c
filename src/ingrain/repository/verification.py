"""The record of a proof in the manifest."""

from __future__ import annotations

import msgspec


class Verification(msgspec.Struct, frozen=True):
    """Differences to the source library, measured before the model was published.

    Attributes:
        max_abs_diff: Largest difference of an element to the source library's, in what ``measured`` names.
        min_cosine: Smallest cosine between the graph's vector and the source library's.
        padding_diff: Largest difference between a row alone and the same row in a padded batch.
        cases: Number of compared vectors.
        tokenizer_cases: Number of texts whose token ids were compared with the source's tokenizer (all equal).
        tolerance: Limit of ``max_abs_diff``; None below float32, where cosines have floors instead.
        mean_cosine: Mean of the cosines between the graph's vectors and the source library's.
        mean_cosine_floor: Lower limit of ``mean_cosine``.
        min_cosine_floor: Lower limit of ``min_cosine``.
        measured: What ``max_abs_diff``, ``padding_diff`` and ``tolerance`` are differences of: elements of vectors at
            unit length, or others that the graph's role has instead (``probabilities``).
        max_relative_diff: Largest difference of the raw outputs, as a share of their size; None if not measured.
        relative_tolerance: Limit of ``max_relative_diff``.
        mean_abs_diff: Mean over the rows of the largest difference of an element; only of scores.
        mean_abs_diff_limit: Limit of ``mean_abs_diff`` below float32.
        rank_correlation: Spearman's rank correlation of the scores with the source's; only of scores.
        rank_correlation_floor: Lower limit of ``rank_correlation`` below float32.
    """

    max_abs_diff: float
    min_cosine: float
    padding_diff: float
    cases: int
    tokenizer_cases: int
    tolerance: float | None
    mean_cosine: float | None = None
    mean_cosine_floor: float | None = None
    min_cosine_floor: float | None = None
    measured: str = "unit_vectors"
    max_relative_diff: float | None = None
    relative_tolerance: float | None = None
    mean_abs_diff: float | None = None
    mean_abs_diff_limit: float | None = None
    rank_correlation: float | None = None
    rank_correlation_floor: float | None = None
