"""``GET /stats``: rates, latencies and batches of the last seconds, on both planes."""

from __future__ import annotations

import asyncio
import random
import time

import numpy as np
import pytest

from ingrain.client import AsyncClient
from ingrain.server.plane.rates import COUNTED, FINE_BUCKETS_S, LATENCY_BUCKETS_S, Rates, coarse, quantile
from planes import running_planes


async def test_both_planes_tell_what_was_done(tmp_path):
    """Ten requests of three texts each, one of them padded and two from the cache, in the answer of either plane."""
    async with running_planes(tmp_path) as planes:
        await planes.load()
        began = time.monotonic()
        for number in range(10):
            answer = await planes.embed(["red", "green", f"w{number} w1 w2"])
            assert answer.status_code == 200
        urls = str(planes.inference.base_url), str(planes.model.base_url)
        async with AsyncClient(*urls) as client:
            stats = await client.stats()
        also = (await planes.model.get("/stats")).json()
        seconds = time.monotonic() - began
    assert (
        [window.seconds for window in stats.windows] == [window["seconds"] for window in also["windows"]] == [1, 10, 60]
    )
    assert {queue.name: queue.waiting_tokens for queue in stats.queues} == {"org/model": 0}
    (minute,) = stats.windows[-1].models
    assert minute.name == "org/model"
    assert minute.items_per_s == pytest.approx(3 * minute.requests_per_s, rel=0.01)
    assert 0 < minute.requests_per_s <= 10 / min(seconds, 0.001)
    assert 0 < minute.p50_ms <= minute.p99_ms < 1e3 * seconds
    assert minute.cache_hit_share == pytest.approx(18 / 30, abs=0.001)
    assert minute.mean_batch_items == pytest.approx(12 / 10, abs=0.5)
    assert 0 <= minute.padding_share < 0.5
    assert minute.tokens_per_s > 0


def test_rates_are_those_of_their_window():
    """A counter grows by five a second, then stands still, then begins anew: each window has what fell into it."""
    now, counted = 100.0, {"m": np.zeros(2)}
    rates = Rates(lambda: {name: count.copy() for name, count in counted.items()}, clock=lambda: now)
    for second in range(70):
        now += 1.0
        if second < 60:
            counted["m"] += (5, 1)
        rates.look()
    told = rates.per_second()
    assert told[1] == told[10] == {}
    np.testing.assert_allclose(told[60]["m"], (5 * 50 / 60, 50 / 60))
    counted["m"] = np.array([3.0, 61.0])
    now += 1.0
    assert rates.per_second()[1] == {"m": [3.0, 1.0]}


def test_quantiles_are_at_most_a_fifth_off():
    numbers = random.Random(5)
    seconds = np.array([numbers.lognormvariate(-4, 1.2) for _ in range(20_000)])
    counts = np.bincount(np.searchsorted(FINE_BUCKETS_S, seconds), minlength=len(FINE_BUCKETS_S) + 1)
    for share in (0.5, 0.9, 0.99):
        assert quantile(counts.tolist(), share) == pytest.approx(np.quantile(seconds, share), rel=0.2)
    assert quantile([0] * (len(FINE_BUCKETS_S) + 1), 0.5) is None


def test_the_coarse_buckets_are_the_fine_ones_joined():
    numbers = random.Random(6)
    seconds = [*LATENCY_BUCKETS_S, *(10 ** numbers.uniform(-5, 2.5) for _ in range(2_000))]
    fine = np.bincount(np.searchsorted(FINE_BUCKETS_S, seconds), minlength=len(FINE_BUCKETS_S) + 1)
    plain = np.bincount(np.searchsorted(LATENCY_BUCKETS_S, seconds), minlength=len(LATENCY_BUCKETS_S) + 1)
    assert coarse(fine.tolist()) == plain.tolist()
    assert len(COUNTED) == 7


async def test_a_look_each_second_is_cheap():
    """A hundred models take well under a hundredth of a core's time."""
    counted = {f"m{number}": np.ones(len(COUNTED) + len(FINE_BUCKETS_S) + 1) for number in range(100)}
    rates = Rates(lambda: {name: count + 1 for name, count in counted.items()})
    began = time.thread_time()
    for _ in range(10):
        rates.look()
    assert (time.thread_time() - began) / 10 < 0.01
    looking = asyncio.create_task(rates.keep_looking())
    await asyncio.sleep(0)
    looking.cancel()
