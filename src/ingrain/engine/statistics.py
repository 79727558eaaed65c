"""Counts of what an engine did for a graph, in Triton's terms."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable

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


class Ledger:
    """Keeps what no user sent out of an engine's counts, and lets them go on where they were, after a reload too."""

    def __init__(self) -> None:
        self._held: dict[str, GraphStatistics | None] = {}
        self._before: dict[str, tuple[GraphStatistics, GraphStatistics | None]] = {}

    def hold(self, names: Iterable[str], found: Iterable[GraphStatistics]) -> None:
        """Tell of these graphs what is told of them now, until they go on."""
        told = {graph.name: graph for graph in self.told(found)}
        self._held |= {name: told.get(name) for name in names}

    def go_on(self, names: Iterable[str], found: Iterable[GraphStatistics]) -> None:
        """Count these graphs again, from here on."""
        now = {graph.name: graph for graph in found}
        for name in names:
            held = self._held.pop(name, None)
            if held is not None:
                self._before[name] = held, now.get(name)

    def forget(self, names: Iterable[str] | None = None) -> None:
        """Take an engine's counts as they are, of these graphs or of all: it has begun them anew."""
        for name in list(self._held | self._before) if names is None else names:
            self._held.pop(name, None)
            self._before.pop(name, None)

    def told(self, found: Iterable[GraphStatistics]) -> list[GraphStatistics]:
        """Return what users are told of what an engine has counted."""
        counted = [graph for graph in found if graph.name not in self._held]
        held = [graph for graph in self._held.values() if graph is not None]
        return [self._continued(graph) for graph in counted] + held

    def _continued(self, graph: GraphStatistics) -> GraphStatistics:
        if graph.name not in self._before:
            return graph
        kept, start = self._before[graph.name]
        return plus(kept, since(start, graph))


def plus(one: GraphStatistics, other: GraphStatistics) -> GraphStatistics:
    """Return the counts of one graph from two times, the later one second."""
    nothing = Duration()
    sizes = {batch.batch_size: batch for batch in one.batches}
    for batch in other.batches:
        sizes[batch.batch_size] = _both(sizes[batch.batch_size], batch) if batch.batch_size in sizes else batch
    return GraphStatistics(
        name=other.name,
        version=other.version,
        last_inference_ms=max(one.last_inference_ms, other.last_inference_ms),
        inference_count=one.inference_count + other.inference_count,
        execution_count=one.execution_count + other.execution_count,
        durations={
            key: _sum(one.durations.get(key, nothing), other.durations.get(key, nothing))
            for key in {**one.durations, **other.durations}
        },
        batches=tuple(batch for _, batch in sorted(sizes.items())),
    )


def _both(one: BatchStatistics, other: BatchStatistics) -> BatchStatistics:
    return BatchStatistics(
        batch_size=one.batch_size,
        compute_input=_sum(one.compute_input, other.compute_input),
        compute_infer=_sum(one.compute_infer, other.compute_infer),
        compute_output=_sum(one.compute_output, other.compute_output),
    )


def _sum(one: Duration, other: Duration) -> Duration:
    return Duration(count=one.count + other.count, ns=one.ns + other.ns)


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
