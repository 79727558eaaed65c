"""Counts of what an engine did for a graph, in Triton's terms."""

from __future__ import annotations

import time
from collections import defaultdict

from ingrain.engine.protocol import BatchStatistics, Duration, GraphStatistics

_DURATIONS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")


class Recorder:
    """Counts for engines that keep their own statistics.

    Args:
        name: The graph's name.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._durations: dict[str, Duration] = dict.fromkeys(_DURATIONS, Duration())
        self._batches: dict[int, Duration] = defaultdict(Duration)
        self._items = 0
        self._last_ms = 0

    def succeeded(self, items: int, *, queue_ns: int, compute_ns: int) -> None:
        """Count a batch that was run: how many items it had, how long it waited and how long it took."""
        self._items += items
        self._last_ms = time.time_ns() // 1_000_000
        self._add("success", queue_ns + compute_ns)
        self._add("queue", queue_ns)
        self._add("compute_input", 0)
        self._add("compute_infer", compute_ns)
        self._add("compute_output", 0)
        self._batches[items] = _plus(self._batches[items], compute_ns)

    def failed(self, ns: int) -> None:
        """Count a batch that failed after ``ns`` nanoseconds."""
        self._add("fail", ns)

    def snapshot(self) -> GraphStatistics:
        """Return the counts until now."""
        return GraphStatistics(
            name=self._name,
            version="1",
            last_inference_ms=self._last_ms,
            inference_count=self._items,
            execution_count=self._durations["compute_infer"].count,
            durations=dict(self._durations),
            batches=tuple(
                BatchStatistics(
                    batch_size=size,
                    compute_input=Duration(count=took.count),
                    compute_infer=took,
                    compute_output=Duration(count=took.count),
                )
                for size, took in sorted(self._batches.items())
            ),
        )

    def _add(self, key: str, ns: int) -> None:
        self._durations[key] = _plus(self._durations[key], ns)


def _plus(duration: Duration, ns: int) -> Duration:
    return Duration(count=duration.count + 1, ns=duration.ns + ns)


def since(before: GraphStatistics | None, now: GraphStatistics) -> GraphStatistics:
    """Return what was counted after ``before``; all of it if ``before`` is None or the counts began anew since."""
    if before is None or now.inference_count < before.inference_count:
        return now
    nothing = Duration()
    earlier = {batch.batch_size: batch for batch in before.batches}
    batches = (_batch_since(earlier.get(batch.batch_size), batch) for batch in now.batches)
    inference_count = now.inference_count - before.inference_count
    return GraphStatistics(
        name=now.name,
        version=now.version,
        last_inference_ms=now.last_inference_ms if inference_count else 0,
        inference_count=inference_count,
        execution_count=now.execution_count - before.execution_count,
        durations={key: _minus(took, before.durations.get(key, nothing)) for key, took in now.durations.items()},
        batches=tuple(batch for batch in batches if batch.compute_infer.count),
    )


def _batch_since(before: BatchStatistics | None, now: BatchStatistics) -> BatchStatistics:
    if before is None:
        return now
    return BatchStatistics(
        batch_size=now.batch_size,
        compute_input=_minus(now.compute_input, before.compute_input),
        compute_infer=_minus(now.compute_infer, before.compute_infer),
        compute_output=_minus(now.compute_output, before.compute_output),
    )


def _minus(now: Duration, before: Duration) -> Duration:
    return Duration(count=now.count - before.count, ns=now.ns - before.ns)
