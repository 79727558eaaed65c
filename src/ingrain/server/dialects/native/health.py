"""Routes for health, readiness and metrics."""

from __future__ import annotations

from functools import partial
from typing import get_args

from ingrain.api import types
from ingrain.api.metrics import MetricsAnswer
from ingrain.errors import EngineUnavailableError, ModelNotLoadedError
from ingrain.registry.status import ModelStatus
from ingrain.server.dialects.native.models import checked_query, library_of, model_state
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.accept import preferred
from ingrain.server.plane.answers import struct_answer
from ingrain.server.plane.auth import credentials
from ingrain.server.plane.readiness import reasons_not_ready, why_not_serving
from ingrain.server.plane.route import Parameter, Route
from ingrain.server.plane.services import Services
from ingrain.server.plane.telemetry import model_stats
from ingrain.vocabulary import Library, Plane

_PLANES: tuple[Plane, ...] = get_args(Plane)
_PROMETHEUS = ("text/plain", "application/openmetrics-text")
_READY_QUERY = (
    Parameter(name="model", description="Name of a model: 200 if it can serve, 404 if it is not loaded."),
    Parameter(name="library", description="Its source library; needed if several models share a name."),
    Parameter(name="pretrained", description="Weight tag of an OpenCLIP model."),
)


async def _health(plane: Plane, services: Services, request: Request) -> Response:
    del services, request
    return struct_answer(types.MessageAnswer(message=f"The {plane} server is running."))


async def _ready(services: Services, request: Request) -> Response:
    query, key = checked_query(request, _READY_QUERY), credentials(request.headers)
    name, shows_details = query.get("model"), services.keys.knows(key)
    if name is not None and not shows_details:
        services.keys.check_any(key)
    if name is None:
        statuses, reasons = services.registry.statuses(), await reasons_not_ready(services)
    else:
        status = await _status(services, name, library_of(query.get("library")), query.get("pretrained") or None)
        statuses, reasons = [] if status is None else [status], await _reasons_of(services, status)
    models = [model_state(one) for one in statuses] if shows_details else []
    answer = types.ReadyAnswer(ready=not reasons, reasons=reasons if shows_details else [], models=models)
    response = struct_answer(answer, 503 if reasons else 200)
    if reasons:
        response.headers["retry-after"] = "1"
    return response


async def _status(services: Services, name: str, library: Library | None, pretrained: str | None) -> ModelStatus | None:
    """Return the status of a model that should be loaded; None if the server is starting and may not know it yet.

    Raises:
        ModelNotLoadedError: No such model should be loaded.
        ModelConflictError: Several have this name.
    """
    try:
        return services.registry.status(name, library, pretrained)
    except ModelNotLoadedError:
        if services.starting() is not None:
            return None
    await services.registry.refresh()  # another server on this repository may have loaded it
    return services.registry.status(name, library, pretrained)


async def _reasons_of(services: Services, status: ModelStatus | None) -> list[str]:
    """Return a sentence if a model cannot serve; none if it can."""
    if reason := await why_not_serving(services):
        return [reason]
    if status is None or status.state != "READY":
        return ["It is being loaded." if status is None else status.reason or "It is being loaded."]
    return []


async def _metrics(services: Services, request: Request) -> Response:
    accept = request.header("accept")
    if preferred(accept, ("application/json", *_PROMETHEUS)) not in _PROMETHEUS:
        statistics = await services.statistics()
        return struct_answer(MetricsAnswer(model_stats=model_stats(statistics, services.registry.user_names())))
    is_ready = not await reasons_not_ready(services)
    try:
        statistics = await services.statistics()
    except EngineUnavailableError:
        statistics = []  # the other metrics say that the engine is away, and how the server bears it
    text, media_type = await services.telemetry.prometheus(accept, statistics, is_ready=is_ready)
    return Response(text, media_type=media_type)


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
            summary="Readiness of the server, or of one model; 503 says why not.",
            notes="Without `model` it is 200 when the engine answers and the models of the start are loaded or have "
            "failed; the states of models are in the body and do not change the status.",
            answer=types.ReadyAnswer,
            query=_READY_QUERY,
            errors=(400, 401, 404, 503),
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
