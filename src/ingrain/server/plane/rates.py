"""Rates of the last seconds, from counters that are looked at once a second."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the buckets of histograms in the metrics."""

_PARTS = 4
_SHORTEST_S = 0.0001


def _fine_bounds() -> Iterator[float]:
    for low, high in pairwise((_SHORTEST_S, *LATENCY_BUCKETS_S)):
        yield from (low * (high / low) ** (part / _PARTS) for part in range(1, _PARTS))
        yield high


FINE_BUCKETS_S = tuple(_fine_bounds())
"""Upper bounds of buckets that are fine enough for quantiles; every fourth one is of ``LATENCY_BUCKETS_S``."""

WINDOWS_S = (1, 10, 60)
_EVERY_S = 1.0

Vector = NDArray[np.float64]
"""Counters of one model: those of ``COUNTED``, then a histogram of latencies with ``FINE_BUCKETS_S``."""

COUNTED = ("items", "batches", "batch_items", "batch_tokens", "padded_tokens", "cache_hits", "cache_misses")


def coarse(fine: Sequence[int]) -> list[int]:
    """Return the counts of the buckets of ``LATENCY_BUCKETS_S`` and above them, from those of the fine buckets."""
    *grouped, above = [sum(fine[first : first + _PARTS]) for first in range(0, len(fine), _PARTS)]
    return [*grouped, above]


def quantile(buckets: Sequence[float], share: float) -> float | None:
    """Return the latency in seconds below which a share of requests is, by fine buckets; None without any.

    It is at most a fifth off: a bucket is that wide.
    """
    wanted = share * sum(buckets)
    if not wanted:
        return None
    bounds = (0.0, *FINE_BUCKETS_S, FINE_BUCKETS_S[-1])
    for number, reached in enumerate(accumulate(buckets)):
        if reached >= wanted:
            low, high, inside = bounds[number], bounds[number + 1], buckets[number]
            return low + (high - low) * (1 - (reached - wanted) / inside)
    return FINE_BUCKETS_S[-1]


class Rates:
    """Keeps the counters of the last minute, as of each second.

    Args:
        count: Returns the counters of each model since the start.
        clock: Monotonic seconds.
    """

    def __init__(self, count: Callable[[], dict[str, Vector]], clock: Callable[[], float] = time.monotonic) -> None:
        self._count = count
        self._clock = clock
        self._seen: deque[tuple[float, dict[str, Vector]]] = deque([(clock(), {})], maxlen=WINDOWS_S[-1] + 2)

    async def keep_looking(self) -> None:
        """Look at the counters once a second until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            self.look()

    def look(self) -> None:
        """Remember the counters."""
        self._seen.append((self._clock(), self._count()))

    def per_second(self) -> dict[int, dict[str, list[float]]]:
        """Return the growth of the counters in each window, a second; of models with any."""
        now, counters = self._clock(), self._count()
        found: dict[int, dict[str, list[float]]] = {}
        for window_s in WINDOWS_S:
            at, before = next((seen for seen in reversed(self._seen) if now - seen[0] >= window_s), self._seen[0])
            seconds = max(now - at, 1e-3)
            grown = {name: _growth(counted, before.get(name)) for name, counted in counters.items()}
            found[window_s] = {name: (growth / seconds).tolist() for name, growth in grown.items() if growth.any()}
        return found


def _growth(now: Vector, before: Vector | None) -> Vector:
    """Return what counters have grown by; all of those that began anew, as some do when a model is loaded again."""
    return now if before is None else np.where(now < before, now, now - before)
