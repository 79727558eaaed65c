"""Which way a batch goes that has the machine to itself."""

import numpy as np
import pytest

from ingrain.python_backend.lone import FasterWay, LoneSession


class Clock:
    """Time that only sessions spend."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Session:
    """Takes as long as it is told, and counts its runs."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock = clock
        self.seconds = seconds
        self.runs = 0

    def run(self, output_names, inputs, options):
        del inputs, options
        self.clock.now += self.seconds
        self.runs += 1
        return output_names


def run(times: int, *, few: float, all_cores: float) -> tuple[int, int]:
    """Run lone batches of one size, and return how many went each way."""
    clock = Clock()
    other, session = Session(clock, few), Session(clock, all_cores)
    lone = LoneSession(session, clock)
    for _ in range(times):
        assert lone.run(other, ["embedding"], {"input_ids": np.zeros((1, 9))}) == ["embedding"]
    return other.runs, session.runs


def test_all_cores_are_used_where_they_are_faster():
    few, all_cores = run(200, few=0.006, all_cores=0.004)
    assert few <= 12
    assert few + all_cores == 200


def test_all_cores_are_left_alone_where_they_are_slower_or_hardly_faster():
    for seconds in (0.006, 0.00399, 0.00397):
        few, all_cores = run(200, few=0.004, all_cores=seconds)
        assert all_cores <= 14
        assert few + all_cores == 200


def test_comparisons_cost_a_hundredth_of_the_time():
    """Whichever of the two sessions is faster, and by how much."""
    for few, all_cores in ((0.006, 0.005), (0.006, 0.004), (0.006, 0.002), (0.004, 0.0045), (0.004, 0.006)):
        best, clock = min(few, all_cores), Clock()
        other, session = Session(clock, few), Session(clock, all_cores)
        lone = LoneSession(session, clock)
        for number in range(6_000):
            if number == 1_000:
                began = clock.now
            lone.run(other, ["embedding"], {"input_ids": np.zeros((1, 9))})
        assert (clock.now - began) / (5_000 * best) < 1.013


def test_lengths_that_alternate_do_not_mislead():
    """Short texts of a size always come before a comparison and long ones in it, at the same time per token."""
    faster, ways = FasterWay(), []
    for number in range(600):
        size = 65 if number % 2 else 127
        ways.append(faster.is_on_all_cores(size))
        faster.learn(size, size * (0.0001 if ways[-1] else 0.00015), on_all_cores=ways[-1])
    assert sum(ways[100:]) / 500 > 0.97


def test_a_run_that_fails_costs_no_other_run_anything():
    """The first run of a size fails, as a batch whose caller went away does; those after it are right."""
    clock = Clock()

    class Failing(Session):
        def run(self, output_names, inputs, options):
            if not self.runs:
                self.runs += 1
                raise RuntimeError("stopped")
            return super().run(output_names, inputs, options)

    lone, other = LoneSession(Failing(clock, 0.004), clock), Session(clock, 0.006)
    inputs = {"input_ids": np.zeros((1, 9))}
    with pytest.raises(RuntimeError, match="stopped"):
        lone.run(other, ["embedding"], inputs)
    for _ in range(100):
        assert lone.run(other, ["embedding"], inputs) == ["embedding"]
    assert other.runs <= 8


def test_sizes_are_told_apart():
    """Of a tiny model only long texts are faster on all cores."""
    faster = FasterWay()
    for size, few, all_cores in [(8, 0.0001, 0.0002), (512, 0.004, 0.003)] * 20:
        way = faster.is_on_all_cores(size)
        faster.learn(size, all_cores if way else few, on_all_cores=way)
    assert [faster.is_on_all_cores(size) for size in (9, 15, 520, 1000)] == [False, False, True, True]


def test_the_next_batch_is_surely_short_where_it_goes_to_all_cores_and_the_latest_there_were():
    faster, surely = FasterWay(), []
    for seconds in [0.010] * 60 + [0.030] + [0.010] * 10:
        surely.append(faster.is_surely_short(8, 0.015))
        way = faster.is_on_all_cores(8)
        assert way or not surely[-1]
        faster.learn(8, seconds if way else 0.040, on_all_cores=way)
    assert not any(surely[:5])  # the first runs, and the first comparison
    assert sum(surely[5:60]) >= 50
    assert surely[60:] == [True] + [False] * 3 + [True] * 7
    assert not faster.is_surely_short(100, 0.015)


def test_a_longer_batch_of_the_same_size_is_expected_to_take_longer():
    faster = FasterWay()
    for _ in range(20):
        way = faster.is_on_all_cores(70)
        faster.learn(70, 0.010 if way else 0.040, on_all_cores=way)
    assert faster.is_surely_short(100, 0.015)
    assert not faster.is_surely_short(110, 0.015)


def test_the_next_batch_is_not_surely_short_where_few_threads_are_faster():
    faster = FasterWay()
    for _ in range(49):
        assert not faster.is_surely_short(8, 1.0)
        way = faster.is_on_all_cores(8)
        faster.learn(8, 0.004 if way else 0.003, on_all_cores=way)


def test_what_changes_is_noticed():
    """Other programs take the cores for a while: all of them together are slower then, and faster again afterwards."""
    faster = FasterWay()

    def share_on_all_cores(few: float, all_cores: float) -> float:
        ways = []
        for _ in range(300):
            ways.append(faster.is_on_all_cores(8))
            faster.learn(8, all_cores if ways[-1] else few, on_all_cores=ways[-1])
        return sum(ways[-100:]) / 100

    assert share_on_all_cores(0.006, 0.004) > 0.9
    assert share_on_all_cores(0.006, 0.030) < 0.1
    assert share_on_all_cores(0.006, 0.004) > 0.9
