"""Networks with random weights, as the tables of compatibility have them, and how they are built in little time."""

from concurrent.futures import ProcessPoolExecutor

import clip_in_process as in_process
import numpy as np
import pytest

pytestmark = pytest.mark.slow


def test_rounding_does_not_decide_where_t5_looks(exporting: ProcessPoolExecutor) -> None:
    """Its attention is not scaled: with queries as strong as other weights, the difference is above 1e-5."""
    assert exporting.submit(in_process.rounding_of_t5).result() < 2e-6


@pytest.mark.parametrize("architecture", ["efficientnet_b0", "visformer_tiny"])
def test_pictures_do_not_swamp_a_network_whose_batch_norms_were_settled(
    exporting: ProcessPoolExecutor, architecture: str
) -> None:
    """Statistics of plain noise let EfficientNet's logits grow to 180, where rounding changes probabilities by 2e-4."""
    assert 0.05 < exporting.submit(in_process.strength_of_batch_norms, architecture).result() < 15


def test_large_tensors_are_filled_in_little_time_and_within_their_bounds(exporting: ProcessPoolExecutor) -> None:
    filled = exporting.submit(in_process.initial_weights).result()
    for name in ("repeated", "plain"):
        assert filled[name].min() >= 0.5
        assert filled[name].max() <= 3.0
        assert filled[name].std() > 0.3
    assert len(np.unique(filled["small"])) == 64
    first, again, other = filled["fast"]
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1
    assert first.mean() == pytest.approx(2, abs=0.01)
    assert first.std() == pytest.approx(0.5, abs=0.01)
