"""Metrics of the server: the engine's statistics as JSON, and all counters as Prometheus text."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import get_args

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from ingrain.api.metrics import BatchStat, DurationStat, InferenceStat, ModelStat
from ingrain.batching.row_cache import RowCache
from ingrain.engine.protocol import Duration, GraphStatistics
from ingrain.registry.protocol import Models
from ingrain.registry.slots import State
from ingrain.registry.status import ModelStatus
from ingrain.server.plane.counts import Counts, LatencyCounts, QueueCounts

_LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


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
    """A histogram of durations. Not thread-safe: only the event loop uses it, so it needs no lock."""

    def __init__(self) -> None:
        self.counts = [0] * (len(_LATENCY_BUCKETS_S) + 1)
        self.total_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(_LATENCY_BUCKETS_S, seconds)] += 1
        self.total_s += seconds


Gather = Callable[[], Awaitable[Counts]]
"""Returns the counters of all processes of the server, summed."""


class Telemetry:
    """Counts requests, and collects the counters of queues and engine for a scrape.

    Args:
        registry: Holds the queues.
        load: Numbers of requests in progress.
        gather: Returns the summed counters of all processes; None if this process is the only one.
        cache: Cache of rows of this process; None for none.
    """

    def __init__(
        self, registry: Models, load: Load, gather: Gather | None = None, cache: RowCache | None = None
    ) -> None:
        self._registry = registry
        self._load = load
        self._gather = gather
        self._cache = cache
        self._answers: dict[tuple[str, int], int] = {}
        self._latencies: dict[str, Latencies] = {}

    def observe(self, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        answer = route, status
        self._answers[answer] = self._answers.get(answer, 0) + 1
        latencies = self._latencies.get(route)
        if latencies is None:
            latencies = self._latencies[route] = Latencies()
        latencies.observe(seconds)

    def counts(self) -> Counts:
        """Return the counters of this process."""
        answers: dict[str, dict[int, int]] = {}
        for (route, status), count in self._answers.items():
            answers.setdefault(route, {})[status] = count
        return Counts(
            in_progress=self._load.in_progress,
            answers=answers,
            latencies={
                route: LatencyCounts(list(latencies.counts), latencies.total_s)
                for route, latencies in self._latencies.items()
            },
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
                )
                for name, queue in self._registry.queues()
            },
            cache_bytes=self._cache.bytes if self._cache is not None else 0,
        )

    async def prometheus(
        self, accept: str, statistics: Iterable[GraphStatistics], *, is_ready: bool
    ) -> tuple[bytes, str]:
        """Return the metrics and their media type, in the format that the ``Accept`` header prefers."""
        counts = await self._gather() if self._gather is not None else self.counts()
        try:
            encode, media_type = choose_encoder(accept)
        except (TypeError, ValueError):  # the header has a version that is not a number
            encode, media_type = choose_encoder("")
        collectors = CollectorRegistry()
        collectors.register(_Fixed(_readiness_metrics(self._registry.statuses(), is_ready=is_ready)))
        collectors.register(_Fixed(_request_metrics(counts)))
        collectors.register(_Fixed(_queue_metrics(counts)))
        collectors.register(_Fixed(_engine_metrics(statistics, self._registry.user_names())))
        return encode(collectors), media_type


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


def _readiness_metrics(statuses: Iterable[ModelStatus], *, is_ready: bool) -> Iterator[Metric]:
    yield GaugeMetricFamily("ingrain_ready", "1 if /ready answers 200, else 0.", value=is_ready)
    states = GaugeMetricFamily(
        "ingrain_model_state",
        "1 for the state in which a model is, 0 for the others.",
        labels=["model", "library", "pretrained", "state"],
    )
    for status in statuses:
        for state in get_args(State):
            states.add_metric(
                [status.name, status.library or "", status.pretrained or "", state], status.state == state
            )
    yield states


def _request_metrics(counts: Counts) -> Iterator[Metric]:
    yield GaugeMetricFamily("ingrain_requests_in_progress", "Requests in progress.", value=counts.in_progress)
    if counts.workers is not None:
        yield GaugeMetricFamily("ingrain_workers", "Processes that serve the inference plane.", value=counts.workers)
        yield CounterMetricFamily(
            "ingrain_worker_restarts", "Restarts of these processes.", value=counts.worker_restarts
        )
    requests = CounterMetricFamily("ingrain_requests", "Requests answered.", labels=["route", "status"])
    for route, statuses in counts.answers.items():
        for status, count in statuses.items():
            requests.add_metric([route, str(status)], count)
    seconds = HistogramMetricFamily(
        "ingrain_request_seconds", "Seconds from the headers of a request to its response.", labels=["route"]
    )
    for route, latencies in counts.latencies.items():
        seconds.add_metric([route], _cumulative(latencies.buckets), latencies.total_s)
    yield from (requests, seconds)


def _queue_metrics(counts: Counts) -> Iterator[Metric]:
    waiting = GaugeMetricFamily("ingrain_queue_tokens", "Tokens that wait in the queue.", labels=["model"])
    batches = CounterMetricFamily("ingrain_batches", "Batches sent to the engine.", labels=["model"])
    items = CounterMetricFamily("ingrain_batch_items", "Items in those batches.", labels=["model"])
    tokens = CounterMetricFamily("ingrain_batch_tokens", "Tokens in those batches.", labels=["model"])
    padded = CounterMetricFamily(
        "ingrain_batch_padded_tokens", "Tokens in those batches, padding included.", labels=["model"]
    )
    failures = CounterMetricFamily(
        "ingrain_batch_memory_failures", "Batches that failed for lack of memory and were divided.", labels=["model"]
    )
    limit = GaugeMetricFamily(
        "ingrain_batch_token_limit", "Largest number of tokens in a batch, padding included.", labels=["model"]
    )
    cached = CounterMetricFamily(
        "ingrain_cache_items",
        "Items looked up in the cache: found, computed by another request at that time, or not found.",
        labels=["model", "result"],
    )
    for name, queue in counts.queues.items():
        waiting.add_metric([name], queue.waiting_tokens)
        batches.add_metric([name], queue.batches)
        items.add_metric([name], queue.items)
        tokens.add_metric([name], queue.tokens)
        padded.add_metric([name], queue.padded_tokens)
        failures.add_metric([name], queue.memory_failures)
        limit.add_metric([name], queue.token_limit)
        cached.add_metric([name, "hit"], queue.cache_hits)
        cached.add_metric([name, "joined"], queue.cache_joins)
        cached.add_metric([name, "miss"], queue.cache_misses)
    yield from (waiting, batches, items, tokens, padded, failures, limit, cached)
    yield GaugeMetricFamily("ingrain_cache_bytes", "Bytes in the cache of vectors.", value=counts.cache_bytes)


def _cumulative(counts: Sequence[int]) -> list[tuple[str, float]]:
    """Return pairs of an upper bound and a cumulative count, as in Prometheus."""
    bounds = [*map(str, _LATENCY_BUCKETS_S), "+Inf"]
    return list(zip(bounds, map(float, accumulate(counts)), strict=True))


class _Fixed:
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> list[Metric]:
        return self._metrics


def _engine_metrics(statistics: Iterable[GraphStatistics], names: Mapping[str, str]) -> Iterator[Metric]:
    inferences = CounterMetricFamily("ingrain_engine_inferences", "Items inferred.", labels=["model"])
    executions = CounterMetricFamily("ingrain_engine_executions", "Batches executed.", labels=["model"])
    seconds = CounterMetricFamily("ingrain_engine_seconds", "Time spent by stage.", labels=["model", "stage"])
    for graph in statistics:
        if graph.name in names:
            inferences.add_metric([names[graph.name]], graph.inference_count)
            executions.add_metric([names[graph.name]], graph.execution_count)
            for stage, duration in graph.durations.items():
                seconds.add_metric([names[graph.name], stage], duration.ns / 1e9)
    yield from (inferences, executions, seconds)
