"""Counting, and leaving out what was counted before."""

from ingrain.engine.protocol import Duration
from ingrain.engine.statistics import Recorder, since


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
