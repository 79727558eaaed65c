"""The soak sees growth, and no growth in noise."""

import random

import pytest

from chaos.soak import growth_of


@pytest.mark.parametrize("growth", [0.0, 0.05])
def test_growth_is_found_beneath_noise(growth):
    rng = random.Random(0)
    samples = [100 * (1 + growth * number / 300) + rng.uniform(-0.2, 0.2) for number in range(300)]
    settled, end = growth_of(samples)
    assert end / settled - 1 == pytest.approx(0.9 * growth, abs=0.003)


def test_a_single_sample_has_no_growth():
    assert growth_of([5.0]) == (5.0, 5.0)
