"""Routes for health, readiness and metrics."""

from __future__ import annotations

from functools import partial
from typing import get_args

from ingrain.api import types
from ingrain.api.metrics import MetricsAnswer
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.accept import preferred
from ingrain.server.plane.answers import struct_answer
from ingrain.server.plane.readiness import reasons_not_ready
from ingrain.server.plane.route import Route
from ingrain.server.plane.services import Services
from ingrain.server.plane.telemetry import model_stats
from ingrain.vocabulary import Plane

_PLANES: tuple[Plane, ...] = get_args(Plane)
_PROMETHEUS = ("text/plain", "application/openmetrics-text")


async def _health(plane: Plane, services: Services, request: Request) -> Response:
    del services, request
    return struct_answer(types.MessageAnswer(message=f"The {plane} server is running."))


async def _ready(services: Services, request: Request) -> Response:
    reasons = await reasons_not_ready(services)
    shown = reasons if services.keys.knows(request.headers.get(b"authorization")) else []
    answer = struct_answer(types.ReadyAnswer(ready=not reasons, reasons=shown), 503 if reasons else 200)
    if reasons:
        answer.headers["retry-after"] = "1"
    return answer


async def _metrics(services: Services, request: Request) -> Response:
    statistics = await services.statistics()
    accept = request.header("accept")
    if preferred(accept, ("application/json", *_PROMETHEUS)) in _PROMETHEUS:
        text, media_type = await services.telemetry.prometheus(accept, statistics)
        return Response(text, media_type=media_type)
    return struct_answer(MetricsAnswer(model_stats=model_stats(statistics, services.registry.user_names())))


ROUTES = (
    *(
        Route(
            name="health",
            plane=plane,
            method="GET",
            path="/health",
            handler=partial(_health, plane),
            summary="Liveness: answers while the process runs.",
            answer=types.MessageAnswer,
        )
        for plane in _PLANES
    ),
    *(
        Route(
            name="ready",
            plane=plane,
            method="GET",
            path="/ready",
            handler=_ready,
            summary="Readiness: whether the engine answers and all configured models are loaded; 503 says why not.",
            answer=types.ReadyAnswer,
            errors=(503,),
        )
        for plane in _PLANES
    ),
    Route(
        name="metrics",
        plane="inference",
        method="GET",
        path="/metrics",
        handler=_metrics,
        summary="Statistics of the engine as JSON; Prometheus text if `Accept` prefers text/plain or OpenMetrics.",
        answer=MetricsAnswer,
        scope="metrics",
        errors=(503,),
    ),
)
