"""Small requests beside bulk ones, and more load than capacity: on a virtual clock, with an engine as slow as a CPU."""

import asyncio
import random
from collections import Counter

import pytest

from ingrain.batching.batcher import Batcher
from ingrain.batching.queue import BatchLimits
from ingrain.errors import DeadlineExceededError, QueueFullError
from virtual_time import SlowEngine, run_virtually

SECONDS = 12.0


def make(engine: SlowEngine, instances: int = 2) -> Batcher[int]:
    return Batcher(
        engine.run,
        lambda lengths: lengths,
        limits=BatchLimits(max_items=32, overhead_tokens=5),  # as in SlowEngine: `call_s / token_s`
        in_flight=instances + 1,
        max_queue_tokens=10_000_000,
        clock=asyncio.get_running_loop().time,
    )


class Traffic:
    """Single queries of some clients, and maybe bulk requests of another."""

    def __init__(self, batcher: Batcher[int], bulk_lengths: tuple[int, int] = (6, 11)) -> None:
        self.latencies: list[float] = []
        self.bulk_items = 0
        self._batcher = batcher
        self._bulk_lengths = bulk_lengths
        self._numbers = random.Random(3)
        self._loop = asyncio.get_running_loop()

    async def run(self, clients: int, *, bulk: bool) -> "Traffic":
        large = asyncio.create_task(self._send_bulk()) if bulk else None
        await asyncio.gather(*(self._send_singles() for _ in range(clients)))
        if large is not None:
            large.cancel()
            await asyncio.gather(large, return_exceptions=True)
        return self

    def percentile(self, share: float) -> float:
        return sorted(self.latencies)[int(share * len(self.latencies))]

    async def _send_singles(self) -> None:
        while self._loop.time() < SECONDS:
            began = self._loop.time()
            await self._batcher.submit([self._numbers.randint(6, 11)], timeout_s=60)
            if began > 1:  # the first ones come when nothing is known yet, and large batches are under way
                self.latencies.append(self._loop.time() - began)
            await asyncio.sleep(0.002)

    async def _send_bulk(self) -> None:
        while True:
            lengths = [self._numbers.randint(*self._bulk_lengths) for _ in range(2_000)]
            await self._batcher.submit(lengths, timeout_s=600)
            self.bulk_items += len(lengths)


async def traffic(clients: int, *, bulk: bool, instances: int = 2, **options) -> tuple[Traffic, SlowEngine]:
    engine = SlowEngine(instances=instances)
    return await Traffic(make(engine, instances), **options).run(clients, bulk=bulk), engine


@pytest.mark.parametrize(("clients", "instances"), [(1, 1), (1, 4), (8, 2), (64, 1), (64, 4)])
def test_single_queries_hardly_wait_longer_beside_bulk_requests(clients, instances):
    """The 99th percentile beside a client that always has 2,000 items under way is at most twice that without it."""
    alone, _ = run_virtually(traffic(clients, bulk=False, instances=instances))
    beside, _ = run_virtually(traffic(clients, bulk=True, instances=instances))
    assert beside.percentile(0.99) <= 2.0 * alone.percentile(0.99)


def test_bulk_requests_of_long_texts_leave_an_instance_to_short_queries():
    alone, _ = run_virtually(traffic(1, bulk=False))
    beside, _ = run_virtually(traffic(1, bulk=True, bulk_lengths=(60, 250)))
    assert beside.percentile(0.99) <= 1.5 * alone.percentile(0.99)


def test_a_bulk_request_is_not_starved_by_single_queries():
    """Beside eight clients that always have a query under way it gets about a ninth, beside one client most."""
    for clients, least_share in ((8, 1 / 9), (1, 0.5)):
        _, engine = run_virtually(traffic(clients, bulk=True))
        beside, _ = run_virtually(traffic(clients, bulk=True))
        items = sum(map(len, engine.batches))
        assert items - len(beside.latencies) >= least_share * items


def test_a_bulk_request_alone_gets_all_of_the_engine():
    async def alone() -> tuple[float, SlowEngine]:
        engine = SlowEngine(spread=0)
        await make(engine).submit([9] * 3_200, timeout_s=600)
        return asyncio.get_running_loop().time(), engine

    seconds, engine = run_virtually(alone())
    assert 3_200 / seconds > 0.97 * engine.items_per_s(32, 9)


def test_where_a_large_batch_is_as_quick_as_a_small_one_bulk_requests_are_not_held_back():
    """As on a GPU, where tokens cost little beside the call itself."""

    async def beside_singles() -> SlowEngine:
        engine = SlowEngine(instances=1, call_s=0.002, token_s=1e-7)
        await Traffic(make(engine, 1)).run(2, bulk=True)
        return engine

    engine = run_virtually(beside_singles())
    assert sum(map(len, engine.batches)) / SECONDS > 0.7 * engine.items_per_s(32, 9, instances=1)


async def offered(times: float, timeout_s: float) -> dict[str, object]:
    """Send single queries at random moments, ``times`` as many as the engine can do, and count what becomes of them."""
    engine, numbers, loop = SlowEngine(spread=0.1), random.Random(3), asyncio.get_running_loop()
    batcher = make(engine)
    outcomes: list[tuple[float, str, float]] = []

    async def send() -> None:
        began = loop.time()
        try:
            await batcher.submit([numbers.randint(6, 11)], timeout_s=timeout_s)
            outcome = "good"
        except QueueFullError:
            outcome = "refused"
        except DeadlineExceededError:
            outcome = "late"
        outcomes.append((began, outcome, loop.time() - began))

    rate = times * engine.items_per_s(16, 9)
    tasks = []
    while loop.time() < SECONDS:
        await asyncio.sleep(numbers.expovariate(rate))
        tasks.append(asyncio.create_task(send()))
    await asyncio.gather(*tasks)
    steady = [outcome for outcome in outcomes if outcome[0] > 2 * timeout_s]
    count = {word: sum(outcome == word for _, outcome, _ in steady) for word in ("good", "refused", "late")}
    return {
        **count,
        "goodput": count["good"] / (SECONDS - 2 * timeout_s) / engine.items_per_s(16, 9),
        "slowest": max(seconds for _, outcome, seconds in outcomes if outcome == "good"),
        "refused later": sum(outcome == "refused" and seconds > 0 for _, outcome, seconds in steady),
    }


@pytest.mark.parametrize(("times", "timeout_s"), [(4, 0.5), (2, 2)])
def test_above_capacity_the_engine_computes_only_what_is_wanted(times, timeout_s):
    """Good answers are as many as the engine can do, none comes after its time, and nearly all others are refused."""
    seen = run_virtually(offered(times, timeout_s))
    assert seen["goodput"] >= 0.95
    assert seen["slowest"] <= timeout_s
    assert seen["refused"] > 2 * seen["late"]
    assert seen["refused later"] < 0.02 * seen["refused"]


async def burst(clients: int, timeout_s: float, token_s: float) -> Counter[str]:
    """Send one text from each of many clients, within 50 ms, to an engine that has not run a batch yet."""
    engine, numbers = SlowEngine(spread=0.1, token_s=token_s), random.Random(3)
    batcher = make(engine)

    async def send() -> str:
        await asyncio.sleep(numbers.uniform(0, 0.05))
        try:
            await batcher.submit([numbers.randint(6, 11)], timeout_s=timeout_s)
        except QueueFullError as error:
            return "refused" if 0 <= error.retry_after_s <= 30 else "refused for very long"
        except DeadlineExceededError:
            return "late"
        return "good"

    return Counter(await asyncio.gather(*(send() for _ in range(clients))))


@pytest.mark.parametrize("token_s", [0.0006, 0.006])
@pytest.mark.parametrize("timeout_s", [1, 3])
def test_of_a_cold_burst_nearly_all_that_would_be_late_are_refused_before(timeout_s, token_s):
    """Nothing is known at first; at the slow pace the first full batches take longer than the shorter time-out."""
    seen = run_virtually(burst(2_000, timeout_s, token_s))
    possible = SlowEngine(token_s=token_s).items_per_s(32, 9) * timeout_s
    assert seen["late"] < 0.05 * seen["refused"]
    assert not seen["refused for very long"]
    if possible > 100:
        assert seen["good"] > 0.75 * possible
