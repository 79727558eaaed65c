"""The counters of a process, as a value that can be sent to another process and summed."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ingrain.engine.protocol import ServerCounts
from ingrain.server.keys.counts import KeyCounts


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

    ``token_limit`` is the largest number of tokens in a batch; of several processes, the least. ``batch_sizes`` has the
    number of batches by their number of items.
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
    batch_sizes: dict[int, int] = {}

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
        for size, count in other.batch_sizes.items():
            self.batch_sizes[size] = self.batch_sizes.get(size, 0) + count


class TaskCounts(msgspec.Struct):
    """The answered requests of one task of a model: their latencies, and those of their stages, if counted."""

    latency: LatencyCounts
    stages: dict[str, LatencyCounts] = {}

    def add(self, other: TaskCounts) -> None:
        """Add another process's counters."""
        self.latency.add(other.latency)
        for name, stage in other.stages.items():
            self.stages.setdefault(name, LatencyCounts([0] * len(stage.buckets))).add(stage)


class Counts(msgspec.Struct):
    """The counters of one process, or the sum of several processes.

    Attributes:
        in_progress: Requests in progress.
        answers: Number of answered requests by route and status.
        latencies: Latencies of the answered requests by route.
        queues: Counters of the queues, by the user's name of the graph.
        tasks: Counters of the answered requests by model and task.
        rates: Growth a second, by the seconds of the window and by model, as ``rates.Vector``.
        keys: Counters of the named API keys, by name; "" for requests without a valid key.
        servers: The engine's servers by address, if it may have several.
        cache_bytes: Bytes in the cache of rows.
        resident_bytes: Resident memory of the process.
        engine_restarts: How often the engine has come back without its graphs; only the process that owns it counts.
        load_seconds: Seconds that the last load of each model took; only the process that loads models knows.
        model_moves: How often models were loaded or unloaded without a command, by reason.
        workers: Number of running worker processes; None if the server has no worker processes.
        worker_restarts: Number of restarts of worker processes.
    """

    in_progress: int = 0
    answers: dict[str, dict[int, int]] = {}
    latencies: dict[str, LatencyCounts] = {}
    queues: dict[str, QueueCounts] = {}
    tasks: dict[str, dict[str, TaskCounts]] = {}
    rates: dict[int, dict[str, list[float]]] = {}
    keys: dict[str, KeyCounts] = {}
    servers: dict[str, ServerCounts] = {}
    cache_bytes: int = 0
    resident_bytes: int = 0
    engine_restarts: int = 0
    load_seconds: dict[str, float] = {}
    model_moves: dict[str, int] = {}
    workers: int | None = None
    worker_restarts: int = 0

    def add(self, other: Counts) -> None:
        """Add another process's counters; ``workers`` and ``worker_restarts`` describe the whole server and stay."""
        self.in_progress += other.in_progress
        self.cache_bytes += other.cache_bytes
        self.resident_bytes += other.resident_bytes
        self.engine_restarts += other.engine_restarts
        self.load_seconds |= other.load_seconds
        for reason, count in other.model_moves.items():
            self.model_moves[reason] = self.model_moves.get(reason, 0) + count
        for route, statuses in other.answers.items():
            mine = self.answers.setdefault(route, {})
            for status, count in statuses.items():
                mine[status] = mine.get(status, 0) + count
        for route, latency in other.latencies.items():
            self.latencies.setdefault(route, LatencyCounts([0] * len(latency.buckets))).add(latency)
        for name, queue in other.queues.items():
            self.queues.setdefault(name, QueueCounts()).add(queue)
        for model, tasks in other.tasks.items():
            of_model = self.tasks.setdefault(model, {})
            for name, task in tasks.items():
                of_model.setdefault(name, TaskCounts(LatencyCounts([0] * len(task.latency.buckets)))).add(task)
        for window, models in other.rates.items():
            of_window = self.rates.setdefault(window, {})
            for name, rates in models.items():
                known = of_window.get(name)
                of_window[name] = rates if known is None else [a + b for a, b in zip(known, rates, strict=True)]
        for name, key in other.keys.items():
            self.keys.setdefault(name, KeyCounts()).add(key)
        for address, server in other.servers.items():
            self.servers[address] = self.servers.get(address, ServerCounts()) + server

    def of_the_dead(self) -> Counts:
        """Return the counters to keep of a process that has ended: the totals, not the current values."""
        kept = Counts(
            answers=self.answers,
            latencies=self.latencies,
            queues=self.queues,
            tasks=self.tasks,
            keys=self.keys,
            servers=self.servers,
        )
        for queue in kept.queues.values():
            queue.waiting_tokens = queue.token_limit = 0
        return kept


def total(counts: Iterable[Counts]) -> Counts:
    """Return the sum as a new value."""
    summed = Counts()
    for one in counts:
        summed.add(one)
    return summed
