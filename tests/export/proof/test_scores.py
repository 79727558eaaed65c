"""Scores are compared as probabilities, as raw scores and, below float32, by their order."""

import numpy as np
import pytest

from ingrain.errors import VerificationError
from ingrain.export.proof.deviation import Floors, ScoreLimits, Tolerance
from ingrain.export.proof.scores import ScoreDeviation, compare_scores

FLOORS = Floors(
    mean_cosine=0.0,
    min_cosine=0.0,
    own_cosine=0.0,
    scores=ScoreLimits(rank_correlation=0.98, mean_difference=0.02, own_difference=0.005),
)
ALLOWED = Tolerance(absolute=1e-4, relative=1e-3, measured="probabilities")


def deviation_of(ours: np.ndarray, theirs: np.ndarray, *, independent: bool = True) -> ScoreDeviation:
    deviation = ScoreDeviation()
    for row, wanted in zip(ours.astype(np.float32), theirs.astype(np.float32), strict=True):
        deviation.add(
            compare_scores(row, wanted, independent=independent), compare_scores(row, row, independent=independent)
        )
        deviation.add_rows(row, wanted)
    return deviation


def test_a_saturated_probability_does_not_hide_a_wrong_raw_score():
    """A sigmoid of 30 and of 31 is 1; the order of the documents depends on them all the same."""
    deviation = deviation_of(np.array([[31.0]]), np.array([[30.0]]))
    assert deviation.difference < 1e-4
    with pytest.raises(VerificationError, match="of their size"):
        deviation.check(ALLOWED, None, what="scores")


def test_equal_scores_pass_and_the_record_states_the_tolerances():
    scores = np.linspace(-9, 9, 40)[:, None]
    deviation = deviation_of(scores * (1 + 1e-6), scores)
    deviation.check(ALLOWED, None, what="scores")
    record = deviation.verification(tolerance=ALLOWED, floors=None)
    assert (record.tolerance, record.relative_tolerance, record.measured) == (1e-4, 1e-3, "probabilities")
    assert record.max_relative_diff < 1e-5
    assert record.rank_correlation == pytest.approx(1)


def test_alternatives_are_compared_as_softmax_and_others_each_by_itself():
    """All logits one higher: the same probabilities over the labels, others of each label."""
    ours, theirs = np.array([[1.0, 2.0]]), np.array([[0.0, 1.0]])
    assert deviation_of(ours, theirs, independent=False).difference < 1e-6
    assert deviation_of(ours, theirs, independent=True).difference > 0.1


def test_the_order_counts_below_float32():
    numbers = np.random.default_rng(5)
    theirs = numbers.normal(0, 0.2, (60, 1))
    near = theirs + numbers.normal(0, 0.005, theirs.shape)
    deviation_of(near, theirs).check(ALLOWED, FLOORS, what="scores")
    record = deviation_of(near, theirs).verification(tolerance=ALLOWED, floors=FLOORS)
    assert (record.tolerance, record.min_cosine_floor, record.rank_correlation_floor) == (None, None, 0.98)
    shuffled = theirs.copy()
    shuffled[:10] = theirs[:10][::-1]
    with pytest.raises(VerificationError, match="rank correlation") as caught:
        deviation_of(shuffled, theirs).check(ALLOWED, FLOORS, what="scores")
    assert caught.value.facts["rankCorrelationFloor"] == 0.98


def test_the_right_order_does_not_excuse_other_scores():
    theirs = np.linspace(-1, 1, 30)[:, None]
    with pytest.raises(VerificationError, match="mean difference"):
        deviation_of(theirs + 0.4, theirs).check(ALLOWED, FLOORS, what="scores")
