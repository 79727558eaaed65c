"""The batcher: requests in, shared engine calls, rows back to where they belong."""

import asyncio
import time

import numpy as np
import pytest

from ingrain.batching.batcher import Batcher
from ingrain.batching.in_flight import EngineInFlight
from ingrain.batching.queue import BatchLimits
from ingrain.errors import (
    DeadlineExceededError,
    EngineMemoryError,
    EngineUnavailableError,
    InferenceError,
    QueueFullError,
)
from parts import payloads_of


class Graph:
    """Runs batches of numbers as an engine would: answers after its gate opens, counts, fails where told."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.alone: list[bool] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.poison: int | None = None

    async def run(self, parts, *, alone=False):
        payloads = payloads_of(parts)
        self.batches.append(payloads)
        self.alone.append(alone)
        await self.gate.wait()
        if self.error:
            raise self.error
        if self.poison in payloads:
            raise InferenceError("bad item")
        return np.array([[p, 2 * p] for p in payloads], np.float32)


def make(graph: Graph, **changes) -> Batcher[int]:
    options = {"limits": BatchLimits(max_items=8), "in_flight": 2, "max_queue_tokens": 1000} | changes
    return Batcher(graph.run, lambda payloads: [4] * len(payloads), **options)


async def test_rows_come_back_in_the_order_of_each_request():
    graph = Graph()
    batcher = make(graph)
    requests = [list(range(start, start + 13)) for start in range(0, 1300, 100)]
    answers = await asyncio.gather(*(batcher.submit(r, timeout_s=5) for r in requests))
    for request, rows in zip(requests, answers, strict=True):
        assert rows.tolist() == [[p, 2 * p] for p in request]


async def test_rows_of_many_lengths_come_back_in_the_order_of_each_request():
    """Payloads of different lengths leave in an order of their own."""
    graph = Graph()
    batcher = Batcher(
        graph.run,
        lambda payloads: [1 + payload % 7 for payload in payloads],
        limits=BatchLimits(max_items=8),
        in_flight=2,
        max_queue_tokens=100_000,
    )
    requests = [list(range(start, start + count)) for start, count in ((0, 1), (100, 5), (200, 100), (300, 57))]
    answers = await asyncio.gather(*(batcher.submit(r, timeout_s=5) for r in requests))
    for request, rows in zip(requests, answers, strict=True):
        assert rows.tolist() == [[p, 2 * p] for p in request]
    assert max(map(len, graph.batches)) == 8


async def test_requests_that_arrive_together_share_one_engine_call():
    graph = Graph()
    batcher = make(graph)
    await asyncio.gather(*(batcher.submit([n], timeout_s=5) for n in range(8)))
    assert len(graph.batches) == 1


async def test_a_batch_is_alone_while_no_other_is_in_the_engine():
    """The second comes while the first runs, and the third when both are back."""
    graph = Graph()
    batcher = make(graph)
    graph.gate.clear()
    first = asyncio.create_task(batcher.submit([1], timeout_s=5))
    await asyncio.sleep(0)
    while len(graph.batches) < 1:
        await asyncio.sleep(0)
    second = asyncio.create_task(batcher.submit([2], timeout_s=5))
    while len(graph.batches) < 2:
        await asyncio.sleep(0.001)
    graph.gate.set()
    await asyncio.gather(first, second)
    await batcher.submit([3], timeout_s=5)
    assert graph.alone == [True, False, True]


async def test_a_batch_that_others_wait_behind_is_not_alone():
    """A bulk request begins on an idle engine, and wants all its copies."""
    graph = Graph()
    await make(graph).submit(list(range(20)), timeout_s=5)
    assert graph.alone == [False, False, False]


async def test_a_batch_is_not_alone_beside_those_of_other_graphs_and_other_processes():
    elsewhere = Elsewhere()
    engine = EngineInFlight(elsewhere)
    one, other = Graph(), Graph()
    busy, batcher = make(one, engine=engine), make(other, engine=engine)
    one.gate.clear()
    running = asyncio.create_task(busy.submit([1], timeout_s=5))
    while not one.batches:
        await asyncio.sleep(0)
    await batcher.submit([1], timeout_s=5)
    one.gate.set()
    await running
    elsewhere.batches = 1
    await batcher.submit([2], timeout_s=5)
    elsewhere.batches = 0
    await batcher.submit([3], timeout_s=5)
    assert one.alone == [True]
    assert other.alone == [False, False, True]
    await asyncio.sleep(0)
    assert elsewhere.begun == elsewhere.ended == 4


class Elsewhere:
    """What other processes have in the engine, and what this one told of its own."""

    def __init__(self) -> None:
        self.batches = self.begun = self.ended = 0

    def begin(self) -> None:
        self.begun += 1

    def end(self) -> None:
        self.ended += 1

    def elsewhere(self) -> int:
        return self.batches


async def test_what_comes_while_the_engine_is_busy_gathers():
    """With all places taken, sixteen single requests leave as two full batches."""
    graph = Graph()
    graph.gate.clear()
    batcher = make(graph)
    first = [asyncio.create_task(batcher.submit([n], timeout_s=5)) for n in range(2)]
    for task in first:
        await asyncio.sleep(0.01)
        del task
    more = [asyncio.create_task(batcher.submit([n], timeout_s=5)) for n in range(10, 26)]
    await asyncio.sleep(0.01)
    before = len(graph.batches)
    graph.gate.set()
    await asyncio.gather(*first, *more)
    assert len(graph.batches) - before <= 3
    assert max(map(len, graph.batches)) == 8


async def test_a_full_queue_refuses_at_once_and_says_when_to_come_back():
    graph = Graph()
    graph.gate.clear()
    batcher = make(graph, in_flight=1, max_queue_tokens=40)
    running = [asyncio.create_task(batcher.submit([n], timeout_s=5)) for n in range(8)]
    await asyncio.sleep(0.01)
    waiting = [asyncio.create_task(batcher.submit([n], timeout_s=5)) for n in range(10)]
    await asyncio.sleep(0.01)
    with pytest.raises(QueueFullError) as caught:
        await batcher.submit([99], timeout_s=5)
    assert caught.value.retry_after_s is not None
    assert caught.value.retry_after_s > 0
    graph.gate.set()
    await asyncio.gather(*running, *waiting)


async def test_a_request_larger_than_the_queue_is_taken_when_nothing_waits():
    graph = Graph()
    rows = await make(graph, max_queue_tokens=8).submit(list(range(100)), timeout_s=5)
    assert rows.shape == (100, 2)


async def test_one_bad_item_fails_alone():
    """The request with the bad item fails; its neighbours of the same batch get their rows."""
    graph = Graph()
    graph.poison = 3
    batcher = make(graph)
    answers = await asyncio.gather(*(batcher.submit([n], timeout_s=5) for n in range(8)), return_exceptions=True)
    assert [type(a) for n, a in enumerate(answers) if n == 3] == [InferenceError]
    assert all(a.tolist() == [[n, 2 * n]] for n, a in enumerate(answers) if n != 3)


async def test_an_engine_that_is_away_fails_the_batch_once():
    graph = Graph()
    graph.error = EngineUnavailableError("away", retry_after_s=1)
    with pytest.raises(EngineUnavailableError):
        await make(graph).submit([1, 2, 3], timeout_s=5)
    assert len(graph.batches) == 1


async def test_an_error_that_nobody_foresaw_fails_the_requests_and_not_the_batcher():
    graph = Graph()
    graph.error = ValueError("surprise")
    batcher = make(graph)
    loop = asyncio.get_running_loop()
    seen = []
    loop.set_exception_handler(lambda _, context: seen.append(context))
    with pytest.raises(InferenceError):
        await batcher.submit([1], timeout_s=5)
    graph.error = None
    assert (await batcher.submit([1], timeout_s=5)).tolist() == [[1, 2]]


async def test_a_late_request_gets_its_error_on_time_and_its_items_never_reach_the_engine():
    graph = Graph()
    graph.gate.clear()
    batcher = make(graph, in_flight=1)
    running = asyncio.create_task(batcher.submit([1], timeout_s=5))
    await asyncio.sleep(0.01)
    with pytest.raises(DeadlineExceededError):
        await batcher.submit([2], timeout_s=0.05)
    graph.gate.set()
    await running
    await asyncio.sleep(0.01)
    assert graph.batches == [[1]]


async def test_a_cancelled_request_leaves_the_queue():
    graph = Graph()
    graph.gate.clear()
    batcher = make(graph, in_flight=1)
    running = asyncio.create_task(batcher.submit([1], timeout_s=5))
    await asyncio.sleep(0.01)
    gone = asyncio.create_task(batcher.submit([2], timeout_s=5))
    await asyncio.sleep(0.01)
    gone.cancel()
    await asyncio.sleep(0)
    graph.gate.set()
    await running
    await asyncio.sleep(0.01)
    assert graph.batches == [[1]]
    assert batcher.queued_tokens == 0


async def test_closing_answers_what_waits_and_what_comes_and_lets_running_batches_finish():
    graph = Graph()
    graph.gate.clear()
    batcher = make(graph, in_flight=1)
    running = asyncio.create_task(batcher.submit([1], timeout_s=5))
    await asyncio.sleep(0.01)
    waiting = asyncio.create_task(batcher.submit([2], timeout_s=5))
    await asyncio.sleep(0.01)
    batcher.close(EngineUnavailableError("closed"))
    for call in (waiting, batcher.submit([3], timeout_s=5)):
        with pytest.raises(EngineUnavailableError):
            await call
    graph.gate.set()
    assert (await running).tolist() == [[1, 2]]


async def test_an_abandoned_request_does_not_keep_others_out():
    """Tokens of a request that was cancelled no longer count against the limit."""
    graph = Graph()
    graph.gate.clear()
    batcher = make(graph, in_flight=1, max_queue_tokens=40)
    running = asyncio.create_task(batcher.submit([1], timeout_s=5))
    await asyncio.sleep(0.01)
    gone = asyncio.create_task(batcher.submit(list(range(10)), timeout_s=5))
    await asyncio.sleep(0.01)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    waiting = asyncio.create_task(batcher.submit(list(range(10)), timeout_s=5))
    await asyncio.sleep(0.01)
    graph.gate.set()
    await asyncio.gather(running, waiting)


async def test_an_engine_that_answers_too_few_rows_fails_the_request_at_once():
    async def short(parts, *, alone):
        del alone
        return np.zeros((len(payloads_of(parts)) - 1, 2), np.float32)

    batcher = Batcher(
        short, lambda payloads: [1] * len(payloads), limits=BatchLimits(), in_flight=1, max_queue_tokens=100
    )
    with pytest.raises(InferenceError):
        await batcher.submit([1, 2], timeout_s=5)


class Others:
    """Batches of other processes in the same engine."""

    def __init__(self, elsewhere: int) -> None:
        self.now = elsewhere
        self.ours = self.most = 0

    def begin(self) -> None:
        self.ours += 1
        self.most = max(self.most, self.ours)

    def end(self) -> None:
        self.ours -= 1

    def elsewhere(self) -> int:
        return self.now


@pytest.mark.parametrize(("elsewhere", "expected"), [(0, 3), (1, 2), (2, 1), (3, 1), (9, 1)])
async def test_what_others_have_in_the_engine_is_not_sent_ahead_and_one_batch_always_is(elsewhere, expected):
    graph, others = Graph(), Others(elsewhere)
    graph.gate.clear()
    batcher = make(graph, in_flight=3, shared=others)
    tasks = [asyncio.create_task(batcher.submit([n] * 8, timeout_s=5)) for n in range(6)]
    for _ in range(5):
        await asyncio.sleep(0.01)
    assert others.ours == len(graph.batches) == expected
    graph.gate.set()
    await asyncio.gather(*tasks)
    assert (others.ours, others.most) == (0, expected)


async def test_places_that_others_leave_are_taken_when_a_batch_comes_back():
    graph, others = Graph(), Others(2)
    graph.gate.clear()
    batcher = make(graph, in_flight=3, shared=others)
    tasks = [asyncio.create_task(batcher.submit([n] * 8, timeout_s=5)) for n in range(4)]
    await asyncio.sleep(0.01)
    assert others.ours == 1
    others.now = 0
    graph.gate.set()
    await asyncio.gather(*tasks)
    assert others.most > 1


async def test_other_limits_hold_for_what_waits_already_and_no_count_goes_back():
    graph = Graph()
    graph.gate.clear()
    batcher = make(graph)
    waiting = [asyncio.create_task(batcher.submit([n], timeout_s=5)) for n in range(40)]
    await asyncio.sleep(0.01)
    assert [len(batch) for batch in graph.batches] == [8, 8]
    batcher.retune(max_items=4, max_tokens=1000, overhead_tokens=16, in_flight=4)
    await asyncio.sleep(0.01)
    assert [len(batch) for batch in graph.batches] == [8, 8, 4, 4]
    graph.gate.set()
    for rows, n in zip(await asyncio.gather(*waiting), range(40), strict=True):
        assert rows.tolist() == [[n, 2 * n]]
    assert max(len(batch) for batch in graph.batches[2:]) == 4
    assert batcher.statistics.items == 40


async def test_fewer_batches_in_flight_hold_once_those_that_run_have_ended():
    graph = Graph()
    graph.gate.clear()
    batcher = make(graph, in_flight=4, limits=BatchLimits(max_items=1))
    waiting = [asyncio.create_task(batcher.submit([n], timeout_s=5)) for n in range(8)]
    await asyncio.sleep(0.01)
    assert len(graph.batches) == 4
    batcher.retune(max_items=1, max_tokens=1000, overhead_tokens=16, in_flight=2)
    graph.gate.set()
    assert len(await asyncio.gather(*waiting)) == 8


class Told:
    """Waits, notes what it is told, and does something then."""

    def __init__(self, then=lambda: None) -> None:
        self.rows, self.error, self.at, self._then = None, None, None, then

    def done(self, rows):
        self.rows, self.at = rows, time.monotonic()
        self._then()

    def failed(self, error):
        self.error, self.at = error, time.monotonic()
        self._then()


async def until(holds) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.001)


async def test_a_request_sent_by_who_is_told_of_a_deadline_has_its_own():
    """Nothing else comes meanwhile that would have the clock looked at."""
    graph = Graph()
    graph.gate.clear()
    batcher, second, began = make(graph), Told(), time.monotonic()
    first = Told(then=lambda: batcher.put([2], second, timeout_s=0.1))
    batcher.put([1], first, timeout_s=0.1)
    await until(lambda: second.at is not None)
    assert isinstance(first.error, DeadlineExceededError)
    assert isinstance(second.error, DeadlineExceededError)
    assert second.at - began < 2
    graph.gate.set()


async def test_a_waiter_that_fails_does_not_take_its_neighbours_along(caplog):
    def broken():
        raise RuntimeError("a waiter's own fault")

    batcher, told = make(Graph()), [Told(), Told(then=broken), Told()]
    for number, waiter in enumerate(told):
        batcher.put([number], waiter, timeout_s=5)
    await until(lambda last=told[-1]: last.rows is not None)
    assert [waiter.error for waiter in told] == [None] * 3
    assert "Passing on" in caplog.text


async def test_time_spent_on_answers_is_not_the_engines():
    batcher = make(Graph())
    for _ in range(10):
        told = [Told(then=lambda: time.sleep(0.005)) for _ in range(8)]
        for number, waiter in enumerate(told):
            batcher.put([number], waiter, timeout_s=5)
        await until(lambda last=told[-1]: last.rows is not None)
    assert batcher._pace.away_s < 0.02  # each batch's answers take 0.04


async def test_nobody_is_told_of_what_nobody_wants():
    graph = Graph()
    graph.gate.clear()
    batcher, running, waiting = make(graph, in_flight=1), Told(), Told()
    batcher.put([1], running, timeout_s=5)
    await asyncio.sleep(0.01)
    cancels = [batcher.put([2], waiting, timeout_s=5), batcher.put([3], waiting, timeout_s=5)]
    for cancel in (*cancels, *cancels):
        cancel()
    graph.gate.set()
    await until(lambda: running.rows is not None)
    assert graph.batches == [[1]]
    assert waiting.at is None
    assert batcher.queued_tokens == 0


async def test_a_batch_that_hangs_is_given_up_and_is_not_measured(monkeypatch, caplog):
    """Its callers may send it again in seconds; how long it hung says nothing about how long others take."""
    monkeypatch.setattr("ingrain.batching.batcher._LEAST_PATIENCE_S", 0.3)
    monkeypatch.setattr("ingrain.batching.batcher._PATIENCE", 2)
    graph = Graph()
    batcher = make(graph)
    for number in range(3):
        await batcher.submit([number], timeout_s=5)
    graph.gate.clear()
    with pytest.raises(EngineUnavailableError) as caught:
        await batcher.submit([4], timeout_s=30)
    assert 0 < caught.value.retry_after_s <= 10
    assert "not returned a batch" in caplog.text
    graph.gate.set()
    assert batcher._pace.away_s < 0.1
    assert batcher._forecast.times.seconds(4) < 0.1
    assert (await batcher.submit([5], timeout_s=5)).tolist() == [[5, 10]]


class LittleMemory(Graph):
    """Has no memory for batches of more than some items."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    async def run(self, parts, *, alone=False):
        rows = await super().run(parts, alone=alone)
        if len(rows) > self.most:
            raise EngineMemoryError("too little memory")
        return rows


async def test_a_batch_without_memory_is_halved_until_it_fits_and_later_ones_are_as_small(caplog):
    graph = LittleMemory(3)
    batcher = make(graph)
    rows = await batcher.submit(list(range(8)), timeout_s=5)
    assert rows.tolist() == [[n, 2 * n] for n in range(8)]
    assert [len(batch) for batch in graph.batches] == [8, 4, 2, 2, 4, 2, 2]
    assert batcher.limits.max_tokens == 2 * 4
    assert batcher.statistics.memory_failures == 3
    assert "at most 8 tokens" in caplog.text
    graph.batches.clear()
    await asyncio.gather(*(batcher.submit([n] * 5, timeout_s=5) for n in range(5)))
    assert max(map(len, graph.batches)) == 2
    assert batcher.statistics.memory_failures == 3


async def test_an_item_without_memory_fails_alone_and_keeps_no_other_small():
    graph = LittleMemory(0)
    batcher = make(graph)
    with pytest.raises(EngineMemoryError):
        await batcher.submit([1], timeout_s=5)
    assert batcher.limits.max_tokens == BatchLimits().max_tokens


async def test_batches_become_larger_again_when_memory_is_back():
    now = 0.0
    graph = LittleMemory(2)
    batcher = make(graph, clock=lambda: now)
    await batcher.submit(list(range(8)), timeout_s=5)
    graph.most = 100
    for minutes, most in ((9, 2), (11, 4), (12, 4), (22, 8), (100, 8)):
        now = 60.0 * minutes
        graph.batches.clear()
        await batcher.submit(list(range(8)), timeout_s=5)
        assert max(map(len, graph.batches)) == most, minutes
    batcher.retune(max_items=8, max_tokens=4096, overhead_tokens=8, in_flight=2)
    assert batcher.limits.max_tokens == 4096
