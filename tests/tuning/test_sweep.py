"""The sweep: it finds what is faster, keeps the default where that is not certain, and minds its time."""

import itertools
import random

import msgspec
import pytest
from fake_track import FakeTrack

from ingrain.repository.tuning import Execution, Layout
from ingrain.tuning.candidates import Candidates
from ingrain.tuning.choice import is_faster_for_certain
from ingrain.tuning.sweep import Sweep

DEFAULT = Execution(layout=Layout(2, 1), max_items=32, max_tokens=512, overhead_tokens=16)
CANDIDATES = Candidates(layouts=[Layout(1, 2)], tokens=[1024, 256, 2048], items=[8, 16, 64])


async def sweep(track: FakeTrack, seconds: float = 1000.0, candidates: Candidates = CANDIDATES, tell=None):
    track.layout = DEFAULT.layout
    return await Sweep(
        track,
        "text_encoder",
        DEFAULT,
        candidates,
        seconds=seconds,
        clock=track.clock,
        tell=tell or (lambda done, total: None),
    ).run()


def speed(execution: Execution) -> float:
    """Fastest with one copy of two threads, 1024 tokens, 16 items."""
    rate = 100.0 * (1.3 if execution.layout == Layout(1, 2) else 1.0)
    rate *= {1024: 1.2, 2048: 1.1}.get(execution.max_tokens, 1.0)
    return rate * {16: 1.1, 8: 0.5}.get(execution.max_items, 1.0)


async def test_the_fastest_of_each_is_found_and_the_curve_has_all_that_was_measured():
    found = await sweep(FakeTrack(speed))
    assert found.chosen == Execution(layout=Layout(1, 2), max_items=16, max_tokens=1024, overhead_tokens=16)
    assert found.ratio == pytest.approx(1.3 * 1.2 * 1.1, abs=1e-3)
    assert found.default == DEFAULT
    steps = [(step, len(list(points))) for step, points in itertools.groupby(found.curve, lambda point: point.step)]
    assert steps == [("layout", 2), ("tokens", 4), ("items", 4), ("check", 2)]
    assert {point.execution.max_tokens: point.ratio for point in found.curve if point.step == "tokens"} == {
        512: 1.0,
        1024: 1.2,
        256: 1.0,
        2048: 1.1,
    }


@pytest.mark.parametrize(("gain", "chosen"), [(1.1, 300), (1.01, DEFAULT.overhead_tokens)])
async def test_the_measured_overhead_is_taken_where_batches_padded_by_it_are_faster(gain, chosen):
    track = FakeTrack(lambda execution: 100.0 * (gain if execution.overhead_tokens == 300 else 1.0))
    track.overhead = 300
    found = await sweep(track)
    assert found.chosen.overhead_tokens == chosen
    assert [point.execution.overhead_tokens for point in found.curve if point.step == "padding"] == [16, 300]


async def test_where_nothing_is_faster_the_default_stays_and_no_check_is_needed():
    track = FakeTrack(lambda _: 100.0)
    found = await sweep(track)
    assert (found.chosen, found.ratio) == (DEFAULT, 1.0)
    assert "check" not in {point.step for point in found.curve}
    assert track.layout == DEFAULT.layout


async def test_a_gain_below_the_margin_is_taken_for_noise():
    found = await sweep(FakeTrack(lambda execution: 102.0 if execution.layout == Layout(1, 2) else 100.0))
    assert found.chosen == DEFAULT


async def test_a_gain_that_is_not_there_again_in_the_check_is_not_believed():
    """The other layout seems half as fast again when it is first measured, and is not when it is compared in turn."""
    track = FakeTrack(lambda _: 100.0)
    track.speed = lambda execution: 150.0 if execution.layout == Layout(1, 2) and len(track.passes) < 6 else 100.0
    found = await sweep(track)
    assert (found.chosen, found.ratio) == (DEFAULT, 1.0)
    assert [point.ratio for point in found.curve if point.step == "check"] == [1.0, 1.0]


async def test_a_layout_that_fails_the_check_takes_no_gain_of_batches_with_it():
    track = FakeTrack(lambda _: 100.0)

    def speed_of(execution: Execution) -> float:
        seems = 2.0 if len(track.passes) < 6 else 0.4
        return (100.0 if execution.layout == DEFAULT.layout else 100.0 * seems) * (1.5 if _is_large(execution) else 1.0)

    track.speed = speed_of
    found = await sweep(track)
    assert found.chosen == msgspec.structs.replace(DEFAULT, max_tokens=1024)
    assert found.ratio == 1.5
    assert [point.ratio for point in found.curve if point.step == "check"] == [1.0, pytest.approx(0.6), 1.0, 1.5]


def _is_large(execution: Execution) -> bool:
    return execution.max_tokens == 1024


def test_one_lost_round_is_enough_to_keep_the_default():
    assert is_faster_for_certain([110, 111, 112], [100, 100, 100])
    assert not is_faster_for_certain([130, 131, 99], [100, 100, 100])
    assert not is_faster_for_certain([102, 102, 102], [100, 100, 100])


@pytest.mark.parametrize("seed", range(20))
async def test_what_is_slower_is_not_chosen_for_noise(seed):
    """Everything but the default is a sixth slower, and each measurement off by a twentieth or so."""
    numbers = random.Random(seed)
    track = FakeTrack(lambda one: 100.0 if one == DEFAULT else 85.0, lambda _: numbers.lognormvariate(0, 0.05))
    assert (await sweep(track)).chosen == DEFAULT


async def test_limits_that_make_the_same_batches_are_not_compared_for_all_that_differs_is_noise():
    track = FakeTrack(lambda execution: 200.0 if execution.max_items == 64 else 100.0)
    track.alike = {64}
    found = await sweep(track)
    assert found.chosen == DEFAULT
    assert {point.execution.max_items for point in found.curve if point.step == "items"} == {32, 8, 16}
    track.alike = {8, 16, 64}
    assert "items" not in {point.step for point in (await sweep(track)).curve}


async def test_a_size_that_is_faster_in_one_round_alone_is_not_taken():
    rates = iter([100.0, 150.0, 100.0, 99.0])
    track = FakeTrack(lambda _: next(rates))
    found = await sweep(track, candidates=Candidates(tokens=[1024]))
    assert found.chosen == DEFAULT
    assert len(track.passes) == 4


async def test_requests_are_served_again_as_soon_as_only_batches_differ():
    track = FakeTrack(speed)
    await sweep(track)
    assert track.served_in == [Layout(1, 2)]
    first_of_batches = next(index for index, one in enumerate(track.passes) if one.max_tokens != 512)
    assert all(one.max_tokens == 512 for one in track.passes[:first_of_batches])


async def test_layouts_are_loaded_no_more_often_than_the_rounds_need():
    track = FakeTrack(speed)
    await sweep(track)
    other, default = Layout(1, 2), DEFAULT.layout
    assert track.loads == [other, default, other, default]


async def test_the_check_takes_turns_in_going_first():
    track = FakeTrack(lambda execution: 200.0 if execution.max_tokens == 1024 else 100.0)
    await sweep(track, candidates=Candidates(tokens=[1024]))
    assert [one.max_tokens for one in track.passes[-6:]] == [1024, 512, 512, 1024, 1024, 512]


async def test_when_time_is_short_less_is_tried_and_the_check_comes_all_the_same():
    many = Candidates(layouts=[Layout(1, 2), Layout(4, 1), Layout(8, 1)], tokens=[1024, 256], items=[8, 16])
    track = FakeTrack(speed)
    found = await sweep(track, seconds=4.0, candidates=many)
    assert {point.execution.layout for point in found.curve} == {DEFAULT.layout, Layout(1, 2)}
    assert {point.step for point in found.curve} == {"layout", "check"}
    assert found.chosen.layout == Layout(1, 2)
    assert track.now < 20


async def test_one_other_layout_is_tried_however_short_the_time():
    track = FakeTrack(speed)
    assert (await sweep(track, seconds=0.01)).chosen.layout == Layout(1, 2)


async def test_how_far_it_is_only_grows_and_ends_at_all():
    told = []
    await sweep(FakeTrack(speed), tell=lambda done, total: told.append((done, total)))
    shares = [done / total for done, total in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


async def test_a_graph_of_pictures_has_no_tokens_to_vary():
    default = Execution(layout=Layout(2, 1), max_items=32)
    track = FakeTrack(lambda execution: 120.0 if execution.max_items == 4 else 100.0)
    track.layout = default.layout
    found = await Sweep(
        track,
        "image_encoder",
        default,
        Candidates(items=[2, 4, 8]),
        seconds=100,
        clock=track.clock,
        tell=lambda done, total: None,
    ).run()
    assert found.chosen == Execution(layout=Layout(2, 1), max_items=4)
    assert track.loads == []
