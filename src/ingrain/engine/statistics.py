"""Counts of what an engine did for a graph, in Triton's terms, and sums and differences of such counts."""

from __future__ import annotations

import operator
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from ingrain.engine.protocol import DURATIONS, BatchStatistics, Duration, GraphStatistics

_NOTHING = Duration()


class Recorder:
    """Counts for engines that keep their own statistics.

    Args:
        name: The graph's name.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._durations: dict[str, Duration] = dict.fromkeys(DURATIONS, _NOTHING)
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
        self._batches[items] += Duration(count=1, ns=compute_ns)

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
        self._durations[key] += Duration(count=1, ns=ns)


class Ledger:
    """Keeps a tuning's batches out of the statistics: a graph's counts stand still meanwhile, and go on from there."""

    def __init__(self) -> None:
        self._held: dict[str, GraphStatistics | None] = {}
        self._before: dict[str, tuple[GraphStatistics, GraphStatistics | None]] = {}

    def hold(self, names: Iterable[str], found: Iterable[GraphStatistics]) -> None:
        """Let the counts of these graphs stand still until ``go_on``."""
        told = {graph.name: graph for graph in self.told(found)}
        self._held |= {name: told.get(name) for name in names}

    def go_on(self, names: Iterable[str], found: Iterable[GraphStatistics]) -> None:
        """Let the counts of these graphs go on from where they stood."""
        now = {graph.name: graph for graph in found}
        for name in names:
            held = self._held.pop(name, None)
            if held is not None:
                self._before[name] = held, now.get(name)

    def forget(self, names: Iterable[str] | None = None) -> None:
        """Take the engine's counts of these graphs, or of all, as they are: it has begun them anew."""
        for name in list(self._held | self._before) if names is None else names:
            self._held.pop(name, None)
            self._before.pop(name, None)

    def told(self, found: Iterable[GraphStatistics]) -> list[GraphStatistics]:
        """Return the counts that users see, from those of the engine."""
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
    return _combine(operator.add, other, one)


def since(before: GraphStatistics | None, now: GraphStatistics) -> GraphStatistics:
    """Return what was counted after ``before``; all of it if ``before`` is None or the counts began anew since."""
    if before is None or now.inference_count < before.inference_count:
        return now
    return _combine(operator.sub, now, before)


def _combine(apply: Callable[[Any, Any], Any], one: GraphStatistics, other: GraphStatistics) -> GraphStatistics:
    """Add or subtract all counts of one graph; batch sizes of which nothing is left are left out."""
    batches = []
    for size in sorted({batch.batch_size for batch in (*one.batches, *other.batches)}):
        mine, its = (_batches_of(graph, size) for graph in (one, other))
        batch = BatchStatistics(
            batch_size=size,
            compute_input=apply(mine.compute_input, its.compute_input),
            compute_infer=apply(mine.compute_infer, its.compute_infer),
            compute_output=apply(mine.compute_output, its.compute_output),
        )
        if batch.compute_infer.count:
            batches.append(batch)
    items = apply(one.inference_count, other.inference_count)
    return GraphStatistics(
        name=one.name,
        version=one.version,
        last_inference_ms=max(one.last_inference_ms, other.last_inference_ms) if items else 0,
        inference_count=items,
        execution_count=apply(one.execution_count, other.execution_count),
        durations={
            key: apply(one.durations.get(key, _NOTHING), other.durations.get(key, _NOTHING))
            for key in {**one.durations, **other.durations}
        },
        batches=tuple(batches),
    )


def _batches_of(graph: GraphStatistics, size: int) -> BatchStatistics:
    return next((batch for batch in graph.batches if batch.batch_size == size), BatchStatistics(batch_size=size))
