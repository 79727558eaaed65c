"""The inference plane: one short function a route."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import Response

from ingrain.api import types
from ingrain.errors import InvalidRequestError
from ingrain.pipeline import TextJob
from ingrain.server.answers import array_answer, struct_answer
from ingrain.server.bodies import decode, read_body
from ingrain.server.services import Services
from ingrain.server.telemetry import model_stats, prefers_prometheus


async def health(services: Services, request: Request) -> Response:
    """Answer that the process lives."""
    del services, request
    return struct_answer(types.MessageAnswer(message="The inference server is running."))


async def ready(services: Services, request: Request) -> Response:
    """Answer whether all that should be served is."""
    del request
    reasons = await reasons_not_ready(services)
    return struct_answer(types.ReadyAnswer(ready=not reasons, reasons=reasons), 503 if reasons else 200)


async def embed_text(services: Services, request: Request) -> Response:
    """Embed texts."""
    body = decode(await read_body(request, services.settings.max_body_bytes), types.EmbedTextRequest)
    started = time.perf_counter()
    rows = await services.pipeline.embed_text(_text_job(body, body.text))
    return array_answer({"embeddings": rows, "processingTimeMs": _ms_since(started)})


async def embed(services: Services, request: Request) -> Response:
    """Embed texts, in the answer's shape for several modalities."""
    body = decode(await read_body(request, services.settings.max_body_bytes), types.EmbedRequest)
    started = time.perf_counter()
    if body.text is None:
        raise InvalidRequestError("Nothing to embed: give `text`.", param="text")
    rows = await services.pipeline.embed_text(_text_job(body, body.text))
    return array_answer({"textEmbeddings": rows, "imageEmbeddings": None, "processingTimeMs": _ms_since(started)})


async def metrics(services: Services, request: Request) -> Response:
    """Answer the engine's statistics, as JSON or for Prometheus."""
    statistics = await services.engine.statistics()
    accept = request.headers.get("accept", "")
    if prefers_prometheus(accept):
        text, media_type = services.telemetry.prometheus(accept, statistics)
        return Response(text, media_type=media_type)
    return struct_answer(types.MetricsAnswer(model_stats=model_stats(statistics, services.registry.user_names())))


async def reasons_not_ready(services: Services) -> list[str]:
    """Return what stands in the way of serving every model, in sentences; empty if nothing does."""
    starting = services.starting()
    if starting is not None:
        return [starting]
    reasons = [] if await services.engine.live() else ["The engine does not answer."]
    for status in services.registry.statuses():
        if status.state != "READY":
            reasons.append(f"Model {status.name!r}: {status.reason or 'it is being loaded.'}")
    return reasons


def _text_job(body: types.EmbedTextRequest | types.EmbedRequest, text: str | list[str]) -> TextJob:
    return TextJob(
        name=body.name,
        texts=[text] if isinstance(text, str) else text,
        normalize=body.normalize is not False,
        dimensions=body.n_dims,
        library=body.library,
        pretrained=body.pretrained,
    )


def _ms_since(started: float) -> float:
    return round(1e3 * (time.perf_counter() - started), 3)
