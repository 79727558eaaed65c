"""The counters of a process, as a value that can be sent to another process and summed."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class LatencyCounts(msgspec.Struct):
    """A histogram of durations: counts by bucket (the last bucket has no upper bound) and the sum in seconds."""

    buckets: list[int]
    total_s: float = 0.0

    def add(self, other: LatencyCounts) -> None:
        """Add another process's counters."""
        self.buckets = [one + two for one, two in zip(self.buckets, other.buckets, strict=True)]
        self.total_s += other.total_s


class QueueCounts(msgspec.Struct):
    """The queue of one graph: its tokens now, and totals of what was sent to the engine or was in the cache.

    ``token_limit`` is the largest number of tokens in a batch; of several processes, the least.
    """

    waiting_tokens: int = 0
    batches: int = 0
    items: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    cache_hits: int = 0
    cache_joins: int = 0
    cache_misses: int = 0
    memory_failures: int = 0
    token_limit: int = 0

    def add(self, other: QueueCounts) -> None:
        """Add another process's counters."""
        self.waiting_tokens += other.waiting_tokens
        self.batches += other.batches
        self.items += other.items
        self.tokens += other.tokens
        self.padded_tokens += other.padded_tokens
        self.cache_hits += other.cache_hits
        self.cache_joins += other.cache_joins
        self.cache_misses += other.cache_misses
        self.memory_failures += other.memory_failures
        self.token_limit = min(self.token_limit or other.token_limit, other.token_limit)


class Counts(msgspec.Struct):
    """The counters of one process, or the sum of several processes.

    Attributes:
        in_progress: Requests in progress.
        answers: Number of answered requests by route and status.
        latencies: Latencies of the answered requests by route.
        queues: Counters of the queues, by the user's name of the graph.
        cache_bytes: Bytes in the cache of rows.
        workers: Number of running worker processes; None if the server has no worker processes.
        worker_restarts: Number of restarts of worker processes.
    """

    in_progress: int = 0
    answers: dict[str, dict[int, int]] = {}
    latencies: dict[str, LatencyCounts] = {}
    queues: dict[str, QueueCounts] = {}
    cache_bytes: int = 0
    workers: int | None = None
    worker_restarts: int = 0

    def add(self, other: Counts) -> None:
        """Add another process's counters; ``workers`` and ``worker_restarts`` describe the whole server and stay."""
        self.in_progress += other.in_progress
        self.cache_bytes += other.cache_bytes
        for route, statuses in other.answers.items():
            mine = self.answers.setdefault(route, {})
            for status, count in statuses.items():
                mine[status] = mine.get(status, 0) + count
        for route, latency in other.latencies.items():
            self.latencies.setdefault(route, LatencyCounts([0] * len(latency.buckets))).add(latency)
        for name, queue in other.queues.items():
            self.queues.setdefault(name, QueueCounts()).add(queue)

    def of_the_dead(self) -> Counts:
        """Return the counters to keep of a process that has ended: the totals, not the current values."""
        kept = Counts(answers=self.answers, latencies=self.latencies, queues=self.queues)
        for queue in kept.queues.values():
            queue.waiting_tokens = queue.token_limit = 0
        return kept


def total(counts: Iterable[Counts]) -> Counts:
    """Return the sum as a new value."""
    summed = Counts()
    for one in counts:
        summed.add(one)
    return summed
