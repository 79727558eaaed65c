"""What the batcher learns of the engine: how long batches take, how fast it works off what waits."""

import random

import pytest

from ingrain.batching.forecast import BatchTimes, EnginePace


def test_nothing_is_expected_before_anything_is_known():
    times = BatchTimes()
    assert times.seconds(100) == 0
    assert times.tokens_within(1.0) == float("inf")
    assert EnginePace().expect(1_000_000, 0.0) == 0
    assert EnginePace().away_s == 0


def test_what_a_call_costs_is_told_from_what_a_token_costs():
    times, numbers = BatchTimes(), random.Random(3)
    for _ in range(200):
        tokens = numbers.randint(5, 300)
        times.learn(tokens, (0.003 + 0.0006 * tokens) * numbers.lognormvariate(0, 0.05))
    assert times.seconds(100) == pytest.approx(0.063, rel=0.1)
    assert times.seconds(8) == pytest.approx(0.0078, rel=0.4)
    assert times.tokens_within(0.063) == pytest.approx(100, rel=0.15)


def test_batches_of_one_size_are_taken_to_cost_by_the_token():
    times = BatchTimes()
    for _ in range(50):
        times.learn(100, 0.1)
    assert times.seconds(50) == pytest.approx(0.05)
    assert times.tokens_within(0.2) == pytest.approx(200)


def test_where_tokens_cost_nothing_any_number_is_within_the_time_of_a_call():
    times = BatchTimes()
    for tokens in (10, 500) * 20:
        times.learn(tokens, 0.002)
    assert times.seconds(4000) == pytest.approx(0.002)
    assert times.tokens_within(0.003) == float("inf")


def test_times_follow_an_engine_that_becomes_slower():
    times = BatchTimes()
    for tokens in (10, 500) * 50:
        times.learn(tokens, 0.001 * tokens)
    for tokens in (10, 500) * 50:
        times.learn(tokens, 0.003 * tokens)
    assert times.seconds(100) == pytest.approx(0.3, rel=0.05)


def test_pace_counts_only_the_time_in_which_the_engine_was_busy():
    """Two batches of 100 tokens at a time, 0.1 s each, with long rests between: 2,000 tokens a second."""
    pace = EnginePace()
    for number in range(100):
        now = 10.0 * number
        pace.begin(now)
        pace.end(100, now, now + 0.1)
        pace.end(100, now, now + 0.1)
    assert pace.tokens_per_s == pytest.approx(2_000, rel=0.05)
    assert pace.away_s == pytest.approx(0.1, rel=0.05)
    assert pace.expect(4_000, 0.0) == pytest.approx(2.1, rel=0.05)


def test_a_batch_is_expected_back_after_the_time_that_nearly_all_needed():
    pace, numbers = EnginePace(), random.Random(3)
    away = [0.1 * numbers.lognormvariate(0, 0.3) for _ in range(400)]
    on_time = 0
    for seconds in away:
        on_time += seconds <= pace.away_s
        pace.begin(0.0)
        pace.end(100, 0.0, seconds)
    assert on_time > 0.85 * len(away)
    assert pace.away_s < 0.3


def test_an_engine_that_hung_is_not_taken_for_a_slow_one():
    """A batch that comes back after half a minute counts as one that was slow, and not for long."""
    times, pace = BatchTimes(), EnginePace()

    def run(seconds: float, count: int) -> None:
        for _ in range(count):
            times.learn(100, seconds)
            pace.begin(0.0)
            pace.end(100, 0.0, seconds)

    run(0.1, 50)
    run(30, 1)
    assert times.seconds(100) < 0.2
    assert pace.away_s < 1
    assert pace.expect(10_000, 0.0) < 20
    run(0.1, 20)
    assert pace.expect(10_000, 0.0) == pytest.approx(10.1, rel=0.2)
    run(1.0, 20)
    assert pace.expect(10_000, 0.0) > 60, "an engine that has become slower is known after a few batches"
