"""The route for the rates of the last seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from ingrain.api.stats import ModelRates, QueueState, StatsAnswer, WindowStats
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.answers import struct_answer
from ingrain.server.plane.rates import COUNTED, WINDOWS_S, quantile
from ingrain.server.plane.route import Route
from ingrain.server.plane.services import Services
from ingrain.vocabulary import Plane


async def _stats(services: Services, request: Request) -> Response:
    del request
    counts = await services.telemetry.gathered()
    return struct_answer(
        StatsAnswer(
            in_progress=counts.in_progress,
            queues=[QueueState(name=name, waiting_tokens=one.waiting_tokens) for name, one in counts.queues.items()],
            windows=[
                WindowStats(
                    seconds=seconds,
                    models=[_rates(name, rates) for name, rates in sorted(counts.rates.get(seconds, {}).items())],
                )
                for seconds in WINDOWS_S
            ],
        )
    )


def _rates(name: str, rates: Sequence[float]) -> ModelRates:
    told, latencies = dict(zip(COUNTED, rates, strict=False)), rates[len(COUNTED) :]
    p50_s, p99_s = quantile(latencies, 0.5), quantile(latencies, 0.99)
    padding = _share(told["batch_tokens"], told["padded_tokens"])
    return ModelRates(
        name=name,
        requests_per_s=round(sum(latencies), 3),
        items_per_s=round(told["items"], 3),
        tokens_per_s=round(told["batch_tokens"], 3),
        p50_ms=None if p50_s is None else round(1e3 * p50_s, 3),
        p99_ms=None if p99_s is None else round(1e3 * p99_s, 3),
        mean_batch_items=_share(told["batch_items"], told["batches"]),
        padding_share=None if padding is None else round(1 - padding, 4),
        cache_hit_share=_share(told["cache_hits"], told["cache_hits"] + told["cache_misses"]),
    )


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None


ROUTES = tuple(
    Route(
        name="stats",
        plane=plane,
        method="GET",
        path="/stats",
        handler=_stats,
        summary="Rates, latencies and batches of each model in the last 1, 10 and 60 seconds.",
        answer=StatsAnswer,
        scope="metrics",
    )
    for plane in get_args(Plane)
)
