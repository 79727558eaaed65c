"""Counts of several processes as one, and as Prometheus gets them."""

import re

from ingrain.engine.protocol import ServerCounts
from ingrain.server.keys.counts import KeyCounts
from ingrain.server.plane.counts import Counts, LatencyCounts, QueueCounts, total
from ingrain.server.plane.rates import LATENCY_BUCKETS_S
from ingrain.server.plane.telemetry import Load, Telemetry


def counted(times: int) -> Counts:
    return Counts(
        in_progress=times,
        answers={"/a": {200: times}, f"/only{times}": {404: 1}},
        latencies={"/a": LatencyCounts([times] * (len(LATENCY_BUCKETS_S) + 1), 0.5 * times)},
        queues={
            "m": QueueCounts(
                waiting_tokens=7, batches=times, items=2, tokens=3, padded_tokens=4, cache_hits=times, cache_misses=5
            )
        },
        servers={"a:1": ServerCounts(batches=times, lost=1)},
        keys={"search": KeyCounts({200: times}, {"model": 1}, tokens=10)},
        cache_bytes=100,
        resident_bytes=1000 * times,
        engine_restarts=times,
    )


def test_a_sum_leaves_its_parts_alone_and_can_be_taken_again():
    parts = [counted(1), counted(2)]
    for _ in range(2):
        summed = total(parts)
        assert summed.in_progress == 3
        assert summed.answers == {"/a": {200: 3}, "/only1": {404: 1}, "/only2": {404: 1}}
        assert summed.latencies["/a"].buckets == [3] * 16
        assert summed.latencies["/a"].total_s == 1.5
        assert summed.queues["m"] == QueueCounts(
            waiting_tokens=14, batches=3, items=4, tokens=6, padded_tokens=8, cache_hits=3, cache_misses=10
        )
        assert summed.servers == {"a:1": ServerCounts(batches=3, lost=2)}
        assert summed.keys == {"search": KeyCounts({200: 3}, {"model": 2}, tokens=20)}
        assert summed.cache_bytes == 200
        assert (summed.resident_bytes, summed.engine_restarts) == (3000, 3)
    assert parts == [counted(1), counted(2)]


def test_of_the_dead_what_was_counted_stays_and_what_was_going_on_does_not():
    kept = counted(3).of_the_dead()
    assert kept.in_progress == 0
    assert kept.queues["m"].waiting_tokens == kept.cache_bytes == kept.resident_bytes == 0
    assert (kept.queues["m"].batches, kept.answers["/a"]) == (3, {200: 3})
    assert kept.servers["a:1"].batches == 3
    assert kept.keys == counted(3).keys


class NoModels:
    def queues(self):
        return []

    def load_seconds(self):
        return {}

    def moves(self):
        return {}

    def user_names(self):
        return {}

    def statuses(self):
        return []


async def test_prometheus_gets_what_all_processes_counted():
    async def gather() -> Counts:
        counts = total([counted(1), counted(2)])
        counts.workers, counts.worker_restarts = 2, 5
        return counts

    text, _ = await Telemetry(NoModels(), Load(), gather).prometheus("", [], is_ready=True)
    lines = text.decode().splitlines()
    for line in [
        'ingrain_requests_total{route="/a",status="200"} 3.0',
        'ingrain_request_seconds_bucket{le="+Inf",route="/a"} 48.0',
        'ingrain_request_seconds_sum{route="/a"} 1.5',
        'ingrain_batches_total{model="m"} 3.0',
        'ingrain_queue_tokens{model="m"} 14.0',
        'ingrain_cache_items_total{model="m",result="hit"} 3.0',
        'ingrain_cache_items_total{model="m",result="joined"} 0.0',
        'ingrain_cache_items_total{model="m",result="miss"} 10.0',
        "ingrain_cache_bytes 200.0",
        "ingrain_requests_in_progress 3.0",
        "ingrain_resident_bytes 3000.0",
        "ingrain_engine_restarts_total 3.0",
        "ingrain_workers 2.0",
        "ingrain_worker_restarts_total 5.0",
    ]:
        assert line in lines
    alone, _ = await Telemetry(NoModels(), Load()).prometheus("", [], is_ready=True)
    assert b"ingrain_workers" not in alone
    assert float(re.search(rb"^ingrain_resident_bytes (\S+)$", alone, re.MULTILINE)[1]) > 1e7
    assert b"ingrain_triton" not in alone


class MainEngine:
    """What the main process knows of its Tritons; the batches are counted where they are sent."""

    def servers(self) -> dict[str, ServerCounts]:
        return {"a:1": ServerCounts(state="READY", graphs=2), "b:1": ServerCounts(state="UNAVAILABLE")}


async def test_each_of_several_tritons_has_its_state_and_its_batches():
    main = Telemetry(NoModels(), Load(), engine=MainEngine())
    left = Counts(servers={"gone:1": ServerCounts(batches=9)})

    async def gather() -> Counts:
        return total([main.counts(), counted(1), counted(2), left])

    text, _ = await Telemetry(NoModels(), Load(), gather).prometheus("", [], is_ready=True)
    lines = text.decode().splitlines()
    for line in [
        'ingrain_triton_state{address="a:1",state="READY"} 1.0',
        'ingrain_triton_state{address="a:1",state="UNAVAILABLE"} 0.0',
        'ingrain_triton_state{address="b:1",state="UNAVAILABLE"} 1.0',
        'ingrain_triton_graphs{address="a:1"} 2.0',
        'ingrain_triton_batches_total{address="a:1"} 3.0',
        'ingrain_triton_batches_lost_total{address="a:1"} 2.0',
        'ingrain_triton_batches_total{address="b:1"} 0.0',
    ]:
        assert line in lines
    assert "gone:1" not in text.decode()
