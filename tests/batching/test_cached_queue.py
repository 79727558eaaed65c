"""The queue behind the cache: hits, single flights, and nobody lost when a computation fails or is cancelled."""

import asyncio
import gc
import weakref

import numpy as np
import pytest

from ingrain.batching.batcher import Batcher
from ingrain.batching.cached_queue import CachedQueue
from ingrain.batching.queue import BatchLimits
from ingrain.batching.ragged import ragged
from ingrain.batching.row_cache import RowCache
from ingrain.errors import DeadlineExceededError, EngineUnavailableError, InferenceError, QueueFullError
from parts import payloads_of


class Graph:
    """Runs batches of numbers as an engine would: answers after its gate opens, counts, fails where told."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.poison: int | None = None
        self.offset = 0.0

    async def run(self, parts, *, alone=False):
        payloads = payloads_of(parts)
        self.batches.append(payloads)
        await self.gate.wait()
        if self.error:
            raise self.error
        if self.poison in payloads:
            raise InferenceError("bad item")
        self.offset += 0.125  # as if the bits of a row depended on its batch
        return np.array([[p, 2 * p + self.offset] for p in payloads], np.float32)

    @property
    def computed(self) -> list[int]:
        return [payload for batch in self.batches for payload in batch]


def make(graph: Graph, cache: RowCache | None = None, **changes) -> CachedQueue[int]:
    options = {"limits": BatchLimits(max_items=8, max_tokens=40), "in_flight": 2, "max_queue_tokens": 1000} | changes
    batcher = Batcher(graph.run, lambda payloads: [4] * len(payloads), **options)
    cache = cache if cache is not None else RowCache(1_000_000)
    return CachedQueue(batcher, cache, lambda number, payload: (number, str(payload).encode(), b"", 0))


async def until(condition) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


async def begin(queue: CachedQueue[int], payloads: list[int], timeout_s: float = 30) -> asyncio.Task:
    """Submit a request that is in the queue, or waits for another, when this returns."""
    task = asyncio.create_task(queue.submit(payloads, timeout_s=timeout_s))
    await asyncio.sleep(0)
    return task


async def begin_and_run(graph: Graph, queue: CachedQueue[int], payloads: list[int], timeout_s=30) -> asyncio.Task:
    """Submit a request whose batch is in the engine, behind its closed gate, when this returns."""
    graph.gate.clear()
    task = await begin(queue, payloads, timeout_s)
    await until(lambda: set(payloads) <= set(graph.computed))
    return task


async def test_a_text_that_comes_again_gets_the_same_bits_and_no_batch():
    graph = Graph()
    queue = make(graph)
    first = await queue.submit([1, 2], timeout_s=5)
    again = await queue.submit([2, 1, 2], timeout_s=5)
    assert graph.computed == [1, 2]
    assert again.dtype == np.float32
    assert again.tobytes() == first[[1, 0, 1]].tobytes()
    statistics = queue.batcher.statistics
    assert (statistics.cache_hits, statistics.cache_joins, statistics.cache_misses) == (3, 0, 2)


async def test_a_request_with_both_computes_only_what_is_missing():
    graph = Graph()
    queue = make(graph)
    first = await queue.submit([1, 3], timeout_s=5)
    rows = await queue.submit([4, 3, 2, 1], timeout_s=5)
    assert graph.batches == [[1, 3], [4, 2]]
    assert rows[:, 0].tolist() == [4, 3, 2, 1]
    assert rows[[3, 1]].tobytes() == first.tobytes()


async def test_nobody_can_change_a_row_that_others_will_get():
    queue = make(Graph())
    own = await queue.submit([1], timeout_s=5)
    before = own.tobytes()
    own[:] = 0
    found = await queue.submit([1], timeout_s=5)
    assert found.tobytes() == before
    with pytest.raises(ValueError, match="read-only"):
        found[:] = 0


async def test_a_row_in_the_cache_does_not_keep_its_whole_batch_in_memory():
    graph, batches = Graph(), []
    run = graph.run

    async def watched(parts, *, alone=False):
        rows = await run(parts)
        batches.append(weakref.ref(rows))
        return rows

    graph.run = watched
    queue = make(graph)
    await asyncio.gather(*(queue.submit([n], timeout_s=5) for n in range(8)))
    await asyncio.sleep(0.01)
    assert [batch() for batch in batches] == [None] * len(batches)


async def test_an_answered_or_cancelled_request_is_freed_without_the_garbage_collector():
    graph = Graph()
    queue = make(graph)
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for text in range(200):
            await queue.submit([text], timeout_s=5)
            cancelled = await begin(queue, [text + 1000])
            cancelled.cancel()
            await asyncio.gather(cancelled, return_exceptions=True)
        await asyncio.sleep(0.01)
        assert len(gc.get_objects()) - before < 1000
    finally:
        gc.enable()


async def test_a_waiter_is_not_called_before_put_returns_nor_after_it_cancelled():
    queue = make(Graph())
    await queue.submit([1], timeout_s=5)
    calls = []

    class Waiter:
        def done(self, rows):
            calls.append(rows.shape)

        failed = None

    queue.put([1, 1], Waiter(), timeout_s=5)
    queue.put([1], Waiter(), timeout_s=5)()
    assert calls == []
    await asyncio.sleep(0)
    assert calls == [(2, 2)]


async def test_equal_texts_at_the_same_time_are_computed_once():
    graph = Graph()
    queue = make(graph)
    leader = await begin_and_run(graph, queue, [1, 2])
    others = [await begin(queue, payloads) for payloads in ([2], [1], [3, 2], [2, 2])]
    graph.gate.set()
    rows = [await task for task in (leader, *others)]
    assert sorted(graph.computed) == [1, 2, 3]
    assert [part[:, 0].tolist() for part in rows] == [[1, 2], [2], [1], [3, 2], [2, 2]]
    assert rows[1].tobytes() == rows[0][1].tobytes() == rows[4][1].tobytes()
    assert queue.batcher.statistics.cache_joins == 5
    assert not queue.computing


async def test_a_text_that_a_request_has_twice_is_answered_twice():
    graph = Graph()
    rows = await make(graph).submit([1, 1], timeout_s=5)
    assert rows[:, 0].tolist() == [1, 1]


async def test_who_waits_gets_his_row_though_the_one_who_computes_it_was_cancelled():
    graph = Graph()
    queue = make(graph)
    leader = await begin_and_run(graph, queue, [1, 2])
    waiting = await begin(queue, [2])
    leader.cancel()
    await asyncio.sleep(0)
    graph.gate.set()
    assert (await waiting)[0, 0] == 2
    assert leader.cancelled()
    assert sorted(graph.computed) == [1, 2]


async def test_a_cancelled_computation_that_nobody_waits_for_leaves_the_queue():
    graph = Graph()
    queue = make(graph, in_flight=1)
    running = await begin_and_run(graph, queue, [1])
    leader = await begin(queue, [2, 3])
    assert queue.batcher.queued_tokens == 8
    leader.cancel()
    await asyncio.sleep(0)
    assert queue.batcher.queued_tokens == 0
    again = await begin(queue, [2])
    graph.gate.set()
    await running
    assert (await again)[0, 0] == 2
    assert graph.computed == [1, 2]


async def test_a_waiting_request_that_is_cancelled_does_not_harm_the_one_who_computes():
    graph = Graph()
    queue = make(graph)
    leader = await begin_and_run(graph, queue, [1])
    waiting = await begin(queue, [1, 5])
    waiting.cancel()
    await asyncio.sleep(0)
    graph.gate.set()
    assert (await leader)[0, 0] == 1


async def test_who_waits_for_a_request_that_runs_out_of_time_computes_the_row_himself():
    graph = Graph()
    queue = make(graph)
    leader = await begin_and_run(graph, queue, [1], timeout_s=0.2)
    waiting = [await begin(queue, [1]), await begin(queue, [1, 2])]
    with pytest.raises(DeadlineExceededError):
        await leader
    graph.gate.set()
    rows = [await task for task in waiting]
    assert [part[:, 0].tolist() for part in rows] == [[1], [1, 2]]


async def test_nobody_waits_for_a_computation_that_may_take_longer_than_his_own_time():
    graph = Graph()
    queue = make(graph, in_flight=1)
    leader = await begin_and_run(graph, queue, [1], timeout_s=30)
    hurried = await begin(queue, [1], timeout_s=0.2)
    with pytest.raises(DeadlineExceededError):
        await hurried
    graph.gate.set()
    assert (await leader)[0, 0] == 1
    assert queue.batcher.statistics.cache_joins == 0


async def test_a_bad_text_fails_its_own_request_and_not_those_that_wait_for_another_text_of_it():
    graph = Graph()
    graph.poison = 7
    queue = make(graph)
    leader = await begin_and_run(graph, queue, [1, 7])
    good, bad = await begin(queue, [1]), await begin(queue, [7])
    graph.gate.set()
    assert (await good)[0, 0] == 1
    for failed in (leader, bad):
        with pytest.raises(InferenceError):
            await failed
    with pytest.raises(InferenceError):
        await queue.submit([7], timeout_s=5)
    assert not queue.computing


async def test_who_waits_is_refused_when_the_queue_is_full_at_the_time_of_the_failure():
    graph = Graph()
    queue = make(graph, in_flight=1, max_queue_tokens=8)
    leader = await begin_and_run(graph, queue, [1], timeout_s=0.2)
    waiting = await begin(queue, [1])
    filling = await begin(queue, [5, 6])
    with pytest.raises(DeadlineExceededError):
        await leader
    with pytest.raises(QueueFullError):
        await waiting
    graph.gate.set()
    await filling
    assert not queue.computing


async def test_who_waits_gets_the_error_of_an_engine_that_stays_away():
    graph = Graph()
    queue = make(graph)
    leader = await begin_and_run(graph, queue, [1])
    waiting = [await begin(queue, [1]) for _ in range(20)]
    graph.error = EngineUnavailableError("gone", retry_after_s=1)
    graph.gate.set()
    for failed in (leader, *waiting):
        with pytest.raises(EngineUnavailableError):
            await failed
    assert not queue.computing


async def test_a_refused_request_leaves_nothing_behind():
    graph = Graph()
    queue = make(graph, in_flight=1, max_queue_tokens=8)
    running = await begin_and_run(graph, queue, [1])
    waiting = await begin(queue, [2, 3])
    with pytest.raises(QueueFullError):
        await queue.submit([1, 4], timeout_s=5)
    graph.gate.set()
    await asyncio.gather(running, waiting)
    assert not queue.computing
    statistics = queue.batcher.statistics
    assert (statistics.cache_hits, statistics.cache_joins, statistics.cache_misses) == (0, 0, 3)


async def test_texts_in_the_cache_are_answered_while_the_queue_is_full():
    graph = Graph()
    queue = make(graph, in_flight=1, max_queue_tokens=8)
    await queue.submit([1], timeout_s=5)
    running = await begin_and_run(graph, queue, [2])
    waiting = await begin(queue, [3, 4])
    assert (await queue.submit([1], timeout_s=5))[0, 0] == 1
    graph.gate.set()
    await asyncio.gather(running, waiting)


async def test_a_request_of_more_texts_than_one_batch_passes_the_cache_by():
    graph = Graph()
    queue = make(graph)
    await queue.submit([1], timeout_s=5)
    many = list(range(20))
    assert (await queue.submit(many, timeout_s=5))[:, 0].tolist() == many
    assert sorted(graph.computed) == sorted([1, *many])
    assert queue.batcher.statistics.cache_misses == 1


async def test_nobody_waits_for_a_request_that_needs_several_batches_but_its_rows_are_kept():
    """Eight texts of four tokens each do not fit into 20 tokens, and other requests go before them."""
    graph = Graph()
    queue = make(graph, limits=BatchLimits(max_items=8, max_tokens=20), in_flight=1)
    graph.gate.clear()
    several = await begin(queue, list(range(8)))
    single = await begin(queue, [7])
    assert queue.batcher.statistics.cache_joins == 0
    graph.gate.set()
    await asyncio.gather(several, single)
    before = len(graph.computed)
    await queue.submit([3], timeout_s=5)
    assert len(graph.computed) == before


async def test_a_closed_queue_frees_its_rows_keeps_no_others_and_fails_all():
    graph, cache = Graph(), RowCache(1_000_000)
    queue, other = make(graph, cache), make(graph, cache)
    await queue.submit([1], timeout_s=5)
    await other.submit([1], timeout_s=5)
    bytes_of_one = cache.bytes // 2
    running = await begin_and_run(graph, queue, [2])
    waiting = await begin(queue, [2])
    queue.batcher.close(EngineUnavailableError("unloaded", retry_after_s=1))
    queue.close()
    graph.gate.set()
    await asyncio.gather(running, waiting)  # a batch in the engine ends
    assert cache.bytes == bytes_of_one
    with pytest.raises(EngineUnavailableError):
        await queue.submit([1], timeout_s=5)


async def test_the_same_text_of_two_queues_is_computed_twice():
    """Two graphs, or one graph for two API keys."""
    graph, cache = Graph(), RowCache(1_000_000)
    one, other = make(graph, cache), make(graph, cache)
    assert (await one.submit([1], timeout_s=5)).tobytes() != (await other.submit([1], timeout_s=5)).tobytes()
    assert graph.computed == [1, 1]


async def test_rows_of_different_lengths_come_from_the_cache_as_they_were_computed():
    async def run(parts, *, alone=False):
        return ragged([np.full((number, 2), number, np.float32) for number in payloads_of(parts)])

    graph = Graph()
    graph.run = run
    queue = make(graph)
    first = await queue.submit([2, 0, 3, 3], timeout_s=30)
    again = await queue.submit([3, 2, 1, 0], timeout_s=30)
    assert [row.shape for row in first] == [(2, 2), (0, 2), (3, 2), (3, 2)]
    assert [row.tolist() for row in again] == [[[n, n]] * n for n in (3, 2, 1, 0)]
    assert (queue.batcher.statistics.cache_hits, queue.batcher.statistics.cache_misses) == (3, 5)
