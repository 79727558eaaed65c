"""Writes the counters of the server as Prometheus's metrics."""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import get_args

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder

from ingrain import __version__
from ingrain.engine.protocol import GraphStatistics, ServerState
from ingrain.registry.protocol import Models
from ingrain.registry.slots import State
from ingrain.registry.status import ModelStatus
from ingrain.server.keys.metrics import key_metrics
from ingrain.server.plane.counts import Counts
from ingrain.server.plane.rates import LATENCY_BUCKETS_S

_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def written(
    accept: str,
    counts: Counts,
    statistics: Iterable[GraphStatistics],
    models: Models,
    more: Iterable[Metric] = (),
    *,
    is_ready: bool,
) -> tuple[bytes, str]:
    """Return the metrics and their media type, in the format that an ``Accept`` header prefers.

    Args:
        accept: The header.
        counts: The counters of all processes.
        statistics: The engine's statistics.
        models: The models.
        more: Metrics of other servers.
        is_ready: Whether this server can serve.
    """
    try:
        encode, media_type = choose_encoder(accept)
    except (TypeError, ValueError):  # the header has a version that is not a number
        encode, media_type = choose_encoder("")
    collectors = CollectorRegistry()
    for metrics in (
        _readiness_metrics(models.statuses(), is_ready=is_ready),
        _request_metrics(counts),
        _task_metrics(counts),
        key_metrics(counts.keys),
        _queue_metrics(counts),
        _server_metrics(counts),
        _engine_metrics(statistics, models.user_names()),
        more,
    ):
        collectors.register(_Fixed(metrics))
    return encode(collectors), media_type


def _readiness_metrics(statuses: Iterable[ModelStatus], *, is_ready: bool) -> Iterator[Metric]:
    yield GaugeMetricFamily("ingrain_ready", "1 if /ready answers 200, else 0.", value=is_ready)
    states = GaugeMetricFamily(
        "ingrain_model_state",
        "1 for the state in which a model is, 0 for the others.",
        labels=["model", "library", "pretrained", "state"],
    )
    memory = GaugeMetricFamily(
        "ingrain_model_memory_bytes",
        "Memory that a loaded model takes, measured where the engine can, else estimated.",
        labels=["model", "library", "pretrained"],
    )
    for status in statuses:
        if status.memory_bytes is not None:
            memory.add_metric([status.name, status.library or "", status.pretrained or ""], status.memory_bytes)
        for state in get_args(State):
            states.add_metric(
                [status.name, status.library or "", status.pretrained or "", state], status.state == state
            )
    yield from (states, memory)


def _request_metrics(counts: Counts) -> Iterator[Metric]:
    yield GaugeMetricFamily("ingrain_requests_in_progress", "Requests in progress.", value=counts.in_progress)
    yield GaugeMetricFamily(
        "ingrain_resident_bytes",
        "Resident memory of the processes that serve requests, without the engine's own.",
        value=counts.resident_bytes,
    )
    yield CounterMetricFamily(
        "ingrain_engine_restarts", "Times the engine came back without its graphs.", value=counts.engine_restarts
    )
    if counts.workers is not None:
        yield GaugeMetricFamily("ingrain_workers", "Processes that serve the inference plane.", value=counts.workers)
        yield CounterMetricFamily(
            "ingrain_worker_restarts", "Restarts of these processes.", value=counts.worker_restarts
        )
    loads = GaugeMetricFamily(
        "ingrain_model_load_seconds",
        "Seconds that the last load of a model took, with download and conversion if there were any.",
        labels=["model"],
    )
    for model, load_s in counts.load_seconds.items():
        loads.add_metric([model], load_s)
    yield loads
    moves = CounterMetricFamily(
        "ingrain_model_moves",
        "Models loaded or unloaded without a command: loaded on demand, unloaded to make room, for being idle, or as a "
        "request said.",
        labels=["reason"],
    )
    for reason, count in counts.model_moves.items():
        moves.add_metric([reason], count)
    yield moves
    requests = CounterMetricFamily("ingrain_requests", "Requests answered.", labels=["route", "status"])
    for route, statuses in counts.answers.items():
        for status, count in statuses.items():
            requests.add_metric([route, str(status)], count)
    seconds = HistogramMetricFamily(
        "ingrain_request_seconds", "Seconds from the headers of a request to its response.", labels=["route"]
    )
    for route, latencies in counts.latencies.items():
        seconds.add_metric([route], cumulative(latencies.buckets), latencies.total_s)
    yield from (requests, seconds)


def _task_metrics(counts: Counts) -> Iterator[Metric]:
    yield InfoMetricFamily(
        "ingrain_build", "Version of the server.", value={"version": __version__, "python": platform.python_version()}
    )
    seconds = HistogramMetricFamily(
        "ingrain_task_seconds",
        "Seconds of answered requests from the check of a task to its result.",
        labels=["model", "task"],
    )
    stages = HistogramMetricFamily(
        "ingrain_stage_seconds",
        "Seconds of the stages of requests; with INGRAIN_STAGE_METRICS.",
        labels=["model", "task", "stage"],
    )
    for model, tasks in counts.tasks.items():
        for task, counted in tasks.items():
            latency = counted.latency
            seconds.add_metric([model, task], cumulative(latency.buckets), latency.total_s)
            for stage, told in counted.stages.items():
                stages.add_metric([model, task, stage], cumulative(told.buckets), told.total_s)
    yield seconds
    if stages.samples:
        yield stages


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
    sizes = HistogramMetricFamily("ingrain_batch_size", "Items in the batches sent to the engine.", labels=["model"])
    for name, queue in counts.queues.items():
        by_bound = [0] * (len(_BATCH_SIZES) + 1)
        for size, count in queue.batch_sizes.items():
            by_bound[bisect_left(_BATCH_SIZES, size)] += count
        sizes.add_metric([name], cumulative(by_bound, _BATCH_SIZES), queue.items)
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
    yield from (waiting, batches, items, tokens, padded, failures, limit, cached, sizes)
    yield GaugeMetricFamily("ingrain_cache_bytes", "Bytes in the cache of vectors.", value=counts.cache_bytes)


def _server_metrics(counts: Counts) -> Iterator[Metric]:
    """Yield the metrics of an engine of several Tritons; none for any other one."""
    known = {address: server for address, server in counts.servers.items() if server.state is not None}
    if not known:
        return
    states = GaugeMetricFamily(
        "ingrain_triton_state",
        "1 for the state in which a Triton is, 0 for the others.",
        labels=["address", "state"],
    )
    graphs = GaugeMetricFamily("ingrain_triton_graphs", "Graphs that a Triton has.", labels=["address"])
    batches = CounterMetricFamily("ingrain_triton_batches", "Batches sent to a Triton.", labels=["address"])
    lost = CounterMetricFamily(
        "ingrain_triton_batches_lost",
        "Batches that a Triton did not answer and that were sent to another one.",
        labels=["address"],
    )
    for address, server in known.items():
        for state in get_args(ServerState):
            states.add_metric([address, state], server.state == state)
        graphs.add_metric([address], server.graphs)
        batches.add_metric([address], server.batches)
        lost.add_metric([address], server.lost)
    yield from (states, graphs, batches, lost)


def cumulative(counts: Sequence[int], bounds: Sequence[float] = LATENCY_BUCKETS_S) -> list[tuple[str, float]]:
    """Return pairs of an upper bound and a cumulative count, as in Prometheus."""
    names = [*map(str, bounds), "+Inf"]
    return list(zip(names, map(float, accumulate(counts)), strict=True))


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
