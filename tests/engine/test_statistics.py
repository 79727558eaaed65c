"""Counting, and leaving out what was counted before."""

from ingrain.engine.protocol import Duration
from ingrain.engine.statistics import Ledger, Recorder, plus, since


def recorded(*batches):
    recorder = Recorder("graph")
    for items in batches:
        recorder.succeeded(items, queue_ns=10, compute_ns=100 * items)
    return recorder


def test_recorder_counts_in_tritons_terms():
    recorder = recorded(1, 4, 4)
    recorder.failed(7)
    statistics = recorder.snapshot()
    assert (statistics.inference_count, statistics.execution_count) == (9, 3)
    assert statistics.durations["success"] == Duration(count=3, ns=930)
    assert statistics.durations["fail"] == Duration(count=1, ns=7)
    assert statistics.durations["compute_infer"] == Duration(count=3, ns=900)
    assert {batch.batch_size: batch.compute_infer for batch in statistics.batches} == {
        1: Duration(count=1, ns=100),
        4: Duration(count=2, ns=800),
    }


def test_since_leaves_out_what_came_before_even_within_one_batch_size():
    found = since(recorded(1, 4).snapshot(), recorded(1, 4, 4, 2).snapshot())
    assert (found.inference_count, found.execution_count) == (6, 2)
    assert {batch.batch_size: batch.compute_infer.count for batch in found.batches} == {2: 1, 4: 1}
    assert found.durations["queue"] == Duration(count=2, ns=20)


def test_since_nothing_happened_is_nothing():
    found = since(recorded(3).snapshot(), recorded(3).snapshot())
    assert (found.inference_count, found.last_inference_ms, found.batches) == (0, 0, ())


def test_since_counts_that_began_anew_are_taken_whole():
    now = recorded(2).snapshot()
    assert since(recorded(8, 8).snapshot(), now) == now
    assert since(None, now) == now


def test_two_times_of_one_graph_add_up():
    whole = plus(recorded(1, 4).snapshot(), recorded(4, 2).snapshot())
    expected = recorded(1, 4, 4, 2).snapshot()
    assert (whole.inference_count, whole.execution_count) == (11, 4)
    assert whole.durations == expected.durations
    assert [(batch.batch_size, batch.compute_infer) for batch in whole.batches] == [
        (batch.batch_size, batch.compute_infer) for batch in expected.batches
    ]


def test_what_is_counted_while_held_is_told_to_nobody_and_the_rest_goes_on():
    """A graph that was not loaded anew meanwhile, and one that was, whose counts began again with what is not told."""
    for after in ((1, 4, 8, 8), (8,)):
        ledger = Ledger()
        ledger.hold(["graph"], [recorded(1, 4).snapshot()])
        for found in ([recorded(1, 4, 8).snapshot()], []):
            (told,) = ledger.told(found)
            assert told.inference_count == 5
        ledger.go_on(["graph"], [recorded(*after).snapshot()])
        (told,) = ledger.told([recorded(*after, 2).snapshot()])
        assert (told.inference_count, told.execution_count) == (7, 3)
        ledger.forget(["graph"])
        (told,) = ledger.told([recorded(3).snapshot()])
        assert told.inference_count == 3


def test_a_graph_held_twice_keeps_all_that_was_told_of_it():
    ledger = Ledger()
    for before, after in (((2,), (2, 9)), ((2, 9, 3), (7,))):
        ledger.hold(["graph"], [recorded(*before).snapshot()])
        ledger.go_on(["graph"], [recorded(*after).snapshot()])
    (told,) = ledger.told([recorded(7, 1).snapshot()])
    assert told.inference_count == 2 + 3 + 1
