"""What a process has counted, as a value that can be sent and added to others'."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class LatencyCounts(msgspec.Struct):
    """Durations by bucket, the last one for all that are longer, and their sum in seconds."""

    buckets: list[int]
    total_s: float = 0.0

    def add(self, other: LatencyCounts) -> None:
        """Add another process's."""
        self.buckets = [one + two for one, two in zip(self.buckets, other.buckets, strict=True)]
        self.total_s += other.total_s


class QueueCounts(msgspec.Struct):
    """What the queue of one graph holds (``waiting_tokens``), and what it sent to the engine."""

    waiting_tokens: int = 0
    batches: int = 0
    items: int = 0
    tokens: int = 0
    padded_tokens: int = 0

    def add(self, other: QueueCounts) -> None:
        """Add another process's."""
        self.waiting_tokens += other.waiting_tokens
        self.batches += other.batches
        self.items += other.items
        self.tokens += other.tokens
        self.padded_tokens += other.padded_tokens


class Counts(msgspec.Struct):
    """What one process has counted, or several together.

    Attributes:
        in_progress: Requests being answered.
        answers: Requests answered, by route and status.
        latencies: Of these requests, by route.
        queues: By the user's name of the graph.
        workers: Processes that serve the inference plane now; None where the server has one process.
        worker_restarts: Times that one of them was started again.
    """

    in_progress: int = 0
    answers: dict[str, dict[int, int]] = {}
    latencies: dict[str, LatencyCounts] = {}
    queues: dict[str, QueueCounts] = {}
    workers: int | None = None
    worker_restarts: int = 0

    def add(self, other: Counts) -> None:
        """Add another process's; what is about all processes stays as it is."""
        self.in_progress += other.in_progress
        for route, statuses in other.answers.items():
            mine = self.answers.setdefault(route, {})
            for status, count in statuses.items():
                mine[status] = mine.get(status, 0) + count
        for route, latency in other.latencies.items():
            self.latencies.setdefault(route, LatencyCounts([0] * len(latency.buckets))).add(latency)
        for name, queue in other.queues.items():
            self.queues.setdefault(name, QueueCounts()).add(queue)

    def of_the_dead(self) -> Counts:
        """Return what stays counted when the process that counted it has ended."""
        kept = Counts(answers=self.answers, latencies=self.latencies, queues=self.queues)
        for queue in kept.queues.values():
            queue.waiting_tokens = 0
        return kept


def total(counts: Iterable[Counts]) -> Counts:
    """Return the sum; nothing that is added up is changed."""
    summed = Counts()
    for one in counts:
        summed.add(one)
    return summed
