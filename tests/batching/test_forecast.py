"""The forecast of when the engine wants its next batch."""

import pytest

from ingrain.batching.forecast import EngineForecast


def taught(instances: int = 2) -> EngineForecast:
    """Return a forecast that has seen batches of 100 tokens take 0.1 s."""
    forecast = EngineForecast(instances)
    for number in range(5):
        forecast.begin(number, 100, float(number))
        forecast.end(number, number + 0.1)
    return forecast


def test_a_free_instance_wants_work_at_once():
    forecast = taught()
    assert forecast.seconds_to_spare(10.0) == 0
    forecast.begin("a", 100, 10.0)
    assert forecast.seconds_to_spare(10.0) == 0


def test_nothing_is_put_off_before_anything_is_known():
    forecast = EngineForecast(1)
    forecast.begin("a", 100, 10.0)
    assert forecast.seconds_to_spare(10.0) == 0


def test_the_batch_sent_ahead_may_gather_until_shortly_before_the_first_instance_is_free():
    forecast = taught()
    forecast.begin("a", 100, 10.0)
    forecast.begin("b", 200, 10.05)
    # "a" ends at 10.1; the lead is 3 ms and 40 % of the longest batch, 0.2 s.
    assert forecast.seconds_to_spare(10.0) == pytest.approx(0.1 - 0.003 - 0.08)
    assert forecast.seconds_to_spare(10.05) == 0
    forecast.end("a", 10.1)
    assert forecast.seconds_to_spare(10.1) == 0


def test_a_batch_that_waited_in_the_engine_begins_when_another_ends():
    forecast = taught(instances=1)
    forecast.begin("a", 100, 10.0)
    forecast.begin("b", 100, 10.01)
    assert forecast.seconds_to_spare(10.01) == 0  # something waits there already; more would only wait longer
    forecast.end("a", 10.1)
    assert forecast.seconds_to_spare(10.1) == pytest.approx(0.1 - 0.003 - 0.04)


def test_batches_that_end_out_of_turn_and_unknown_ones_do_no_harm():
    forecast = taught(instances=1)
    forecast.begin("a", 100, 10.0)
    forecast.begin("b", 100, 10.0)
    forecast.end("b", 10.05)
    forecast.end("never", 10.05)
    forecast.end("a", 10.1)
    assert forecast.seconds_to_spare(10.1) == 0


def test_batches_of_other_processes_take_instances_too():
    """One of ours and one of theirs keep both instances busy, so the next may gather; none of ours is never put off."""
    forecast = taught()
    forecast.begin("a", 100, 10.0)
    assert forecast.seconds_to_spare(10.0, elsewhere=1) == pytest.approx(0.1 - 0.003 - 0.04)
    forecast.end("a", 10.1)
    assert forecast.seconds_to_spare(10.1, elsewhere=5) == 0
