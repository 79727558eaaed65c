"""Metrics of the server: the engine's statistics as JSON, and all counters as Prometheus text."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil

from ingrain.api.metrics import BatchStat, DurationStat, InferenceStat, ModelStat
from ingrain.batching.row_cache import RowCache
from ingrain.engine.protocol import Duration, GraphStatistics, Several
from ingrain.pipeline.pipeline import task_name
from ingrain.pipeline.task import Task
from ingrain.registry.protocol import Models
from ingrain.server.keys.named import NamedKeys
from ingrain.server.plane.counts import Counts, LatencyCounts, QueueCounts, TaskCounts
from ingrain.server.plane.prometheus import written
from ingrain.server.plane.rates import COUNTED, FINE_BUCKETS_S, LATENCY_BUCKETS_S, Rates, Vector, coarse
from ingrain.server.plane.triton_metrics import TritonMetrics
from ingrain.timeline import Timeline


@dataclass(slots=True)
class Load:
    """Numbers of requests in progress.

    Attributes:
        requests: Inference requests of all routes; INGRAIN_MAX_REQUESTS is their limit.
        in_progress: All requests.
    """

    requests: int = 0
    in_progress: int = 0


class Latencies:
    """A histogram of durations. Not thread-safe: only the event loop uses it, so it needs no lock.

    Args:
        bounds: Upper bounds of the buckets.

    Attributes:
        answers: Number of durations by the status of the answer, for requests of a route.
        items: Number of items, for requests of a task.
    """

    __slots__ = ("_bounds", "answers", "counts", "items", "total_s")

    def __init__(self, bounds: Sequence[float] = LATENCY_BUCKETS_S) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total_s = 0.0
        self.answers: dict[int, int] = {}
        self.items = 0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(self._bounds, seconds)] += 1
        self.total_s += seconds

    def told(self) -> LatencyCounts:
        """Return a copy for another process."""
        return LatencyCounts(list(self.counts), self.total_s)


Gather = Callable[[], Awaitable[Counts]]
"""Returns the counters of all processes of the server, summed."""


class Telemetry:
    """Counts requests, and collects the counters of queues and engine for a scrape.

    Args:
        registry: Holds the queues.
        load: Numbers of requests in progress.
        gather: Returns the summed counters of all processes; None if this process is the only one, or not yet known.
        cache: Cache of rows of this process; None for none.
        keys: The named keys of this process; None for none.
        engine: The engine; None if its servers are not counted.
        tritons: Fetches the metrics of Tritons; None for none.
    """

    def __init__(
        self,
        registry: Models,
        load: Load,
        gather: Gather | None = None,
        cache: RowCache | None = None,
        keys: NamedKeys | None = None,
        engine: object = None,
        tritons: TritonMetrics | None = None,
    ) -> None:
        self._registry = registry
        self._load = load
        self.gather = gather
        self._cache = cache
        self._keys = keys
        self._engine = engine
        self._tritons = tritons or TritonMetrics(())
        self._latencies: dict[str, Latencies] = {}
        self._tasks: dict[tuple[str, type[Task[Any]]], Latencies] = {}
        self._stages: dict[tuple[str, str, str], Latencies] = {}
        self.rates = Rates(self._vectors)
        self._engine_restarts = 0
        self._process = psutil.Process()

    def engine_came_back(self) -> None:
        """Count that the engine has restarted and lost its graphs."""
        self._engine_restarts += 1

    def observe(self, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        latencies = self._latencies.get(route)
        if latencies is None:
            latencies = self._latencies[route] = Latencies()
        answers = latencies.answers
        answers[status] = answers.get(status, 0) + 1
        latencies.counts[bisect_left(LATENCY_BUCKETS_S, seconds)] += 1
        latencies.total_s += seconds

    def count_task(self, model: str, task: Task[Any], items: int, seconds: float) -> None:
        """Count a task that is done. Called for every request, so it takes no function of its own but the search."""
        key = model, type(task)
        latencies = self._tasks.get(key)
        if latencies is None:
            latencies = self._tasks[key] = Latencies(FINE_BUCKETS_S)
        latencies.items += items
        latencies.counts[bisect_left(FINE_BUCKETS_S, seconds)] += 1
        latencies.total_s += seconds

    def observe_stages(self, line: Timeline) -> None:
        """Count the times of a request's stages, if it has a task."""
        if line.task:
            for name, stage in line.stages.items():
                key = line.model, line.task, name
                latencies = self._stages.get(key)
                if latencies is None:
                    latencies = self._stages[key] = Latencies()
                latencies.observe(stage.busy_s)

    def counts(self) -> Counts:
        """Return the counters of this process."""
        return Counts(
            in_progress=self._load.in_progress,
            answers={route: dict(latencies.answers) for route, latencies in self._latencies.items()},
            latencies={route: latencies.told() for route, latencies in self._latencies.items()},
            tasks=self._task_counts(),
            rates=self.rates.per_second(),
            queues={
                name: QueueCounts(
                    waiting_tokens=queue.queued_tokens,
                    batches=queue.statistics.batches,
                    items=queue.statistics.items,
                    tokens=queue.statistics.tokens,
                    padded_tokens=queue.statistics.padded_tokens,
                    cache_hits=queue.statistics.cache_hits,
                    cache_joins=queue.statistics.cache_joins,
                    cache_misses=queue.statistics.cache_misses,
                    memory_failures=queue.statistics.memory_failures,
                    token_limit=queue.limits.max_tokens,
                    batch_sizes=dict(queue.statistics.batch_sizes),
                )
                for name, queue in self._registry.queues()
            },
            keys=dict(self._keys.counts) if self._keys is not None else {},
            servers=self._engine.servers() if isinstance(self._engine, Several) else {},
            cache_bytes=self._cache.bytes if self._cache is not None else 0,
            resident_bytes=self._process.memory_info().rss,
            engine_restarts=self._engine_restarts,
            load_seconds=self._registry.load_seconds(),
            model_moves=self._registry.moves(),
        )

    def _task_counts(self) -> dict[str, dict[str, TaskCounts]]:
        found: dict[str, dict[str, TaskCounts]] = {}
        for (model, kind), latencies in self._tasks.items():
            counts = LatencyCounts(coarse(latencies.counts), latencies.total_s)
            found.setdefault(model, {})[task_name(kind)] = TaskCounts(counts)
        for (model, task, stage), latencies in self._stages.items():
            if task in found.get(model, {}):
                found[model][task].stages[stage] = latencies.told()
        return found

    def _vectors(self) -> dict[str, Vector]:
        """Return the counters of each model for its rates."""
        if not self._tasks:
            return {}
        found = {model: np.zeros(len(COUNTED) + len(FINE_BUCKETS_S) + 1) for model, _ in self._tasks}
        for (model, _), latencies in self._tasks.items():
            found[model][0] += latencies.items
            found[model][len(COUNTED) :] += latencies.counts
        for model, queues in self._registry.queues_of_models():
            if model in found:
                for queue in queues:
                    told = queue.statistics
                    found[model][1 : len(COUNTED)] += (
                        told.batches,
                        told.items,
                        told.tokens,
                        told.padded_tokens,
                        told.cache_hits + told.cache_joins,
                        told.cache_misses,
                    )
        return found

    async def gathered(self) -> Counts:
        """Return the counters of all processes of the server, summed."""
        return await self.gather() if self.gather is not None else self.counts()

    async def prometheus(
        self, accept: str, statistics: Iterable[GraphStatistics], *, is_ready: bool
    ) -> tuple[bytes, str]:
        """Return the metrics and their media type, in the format that the ``Accept`` header prefers."""
        counts, of_tritons = await asyncio.gather(self.gathered(), self._tritons.fetch())
        return written(accept, counts, statistics, self._registry, of_tritons, is_ready=is_ready)


def model_stats(statistics: Iterable[GraphStatistics], names: Mapping[str, str]) -> list[ModelStat]:
    """Return the engine's statistics by the user's model names; numbers are strings, as in Triton's JSON."""
    return [
        ModelStat(
            name=names[graph.name],
            version=graph.version,
            last_inference=str(graph.last_inference_ms),
            inference_count=str(graph.inference_count),
            execution_count=str(graph.execution_count),
            inference_stats=InferenceStat(
                **{
                    field: _duration_stat(graph.durations[field]) if field in graph.durations else None
                    for field in InferenceStat.__struct_fields__
                }
            ),
            batch_stats=[
                BatchStat(
                    batch_size=str(batch.batch_size),
                    compute_input=_duration_stat(batch.compute_input),
                    compute_infer=_duration_stat(batch.compute_infer),
                    compute_output=_duration_stat(batch.compute_output),
                )
                for batch in graph.batches
            ]
            or None,
        )
        for graph in statistics
        if graph.name in names
    ]


def _duration_stat(duration: Duration) -> DurationStat:
    return DurationStat(count=str(duration.count), ns=str(duration.ns))
