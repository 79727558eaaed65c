"""Counts the batches of a graph as Triton does, and adds and subtracts such statistics."""

from __future__ import annotations

import operator
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from ingrain.engine.protocol import DURATIONS, BatchStatistics, Duration, GraphStatistics

_NOTHING = Duration()


class Recorder:
    """Collects the statistics of one graph, for an engine that is not Triton.

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
        """Count a successful batch, with its number of items and its time in queue and in computation."""
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
        """Return the statistics so far."""
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
    """Excludes the batches of a tuning from the statistics: freezes a graph's counts, then continues from them."""

    def __init__(self) -> None:
        self._held: dict[str, GraphStatistics | None] = {}
        self._before: dict[str, tuple[GraphStatistics, GraphStatistics | None]] = {}

    def hold(self, names: Iterable[str], found: Iterable[GraphStatistics]) -> None:
        """Freeze the counts of these graphs until ``go_on``."""
        told = {graph.name: graph for graph in self.told(found)}
        self._held |= {name: told.get(name) for name in names}

    def go_on(self, names: Iterable[str], found: Iterable[GraphStatistics]) -> None:
        """Continue the counts of these graphs from the frozen ones."""
        now = {graph.name: graph for graph in found}
        for name in names:
            held = self._held.pop(name, None)
            if held is not None:
                self._before[name] = held, now.get(name)

    def forget(self, names: Iterable[str] | None = None) -> None:
        """Drop the corrections for these graphs, or for all: the engine has reset its counts."""
        for name in list(self._held | self._before) if names is None else names:
            self._held.pop(name, None)
            self._before.pop(name, None)

    def told(self, found: Iterable[GraphStatistics]) -> list[GraphStatistics]:
        """Return the statistics to show to users, from the engine's statistics."""
        counted = [graph for graph in found if graph.name not in self._held]
        held = [graph for graph in self._held.values() if graph is not None]
        return [self._continued(graph) for graph in counted] + held

    def _continued(self, graph: GraphStatistics) -> GraphStatistics:
        if graph.name not in self._before:
            return graph
        kept, start = self._before[graph.name]
        return plus(kept, since(start, graph))


def plus(one: GraphStatistics, other: GraphStatistics) -> GraphStatistics:
    """Add the statistics of one graph from two periods, the later one second."""
    return _combine(operator.add, other, one)


def since(before: GraphStatistics | None, now: GraphStatistics) -> GraphStatistics:
    """Return the counts since ``before``; all counts if ``before`` is None or the engine has reset them since."""
    if before is None or now.inference_count < before.inference_count:
        return now
    return _combine(operator.sub, now, before)


def _combine(apply: Callable[[Any, Any], Any], one: GraphStatistics, other: GraphStatistics) -> GraphStatistics:
    """Apply an operator to all counts of one graph; omit batch sizes whose count becomes zero."""
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
