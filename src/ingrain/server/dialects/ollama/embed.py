"""Routes that embed texts, and those that would generate text."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial

from ingrain.errors import InvalidRequestError
from ingrain.server.dialects.ollama.bodies import decode_body
from ingrain.server.dialects.ollama.names import model_named
from ingrain.server.dialects.ollama.types import (
    OllamaEmbedAnswer,
    OllamaEmbeddingsAnswer,
    OllamaEmbeddingsRequest,
    OllamaEmbedRequest,
    OllamaErrorAnswer,
    OllamaGenerateRequest,
    OllamaOptions,
)
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.answers import array_answer, mark_truncated
from ingrain.server.plane.auth import credentials
from ingrain.server.plane.cache_control import cache_group
from ingrain.server.plane.keep_alive import seconds_of
from ingrain.server.plane.route import Work, inference_route
from ingrain.server.plane.services import Services
from ingrain.tasks.embed_text import EmbeddedTexts, EmbedTexts
from ingrain.tasks.texts import Texts
from ingrain.tasks.vectors import VectorForm

_NOTES = (
    "X-Truncated-Texts is the number of truncated texts, if there are any. With `Cache-Control: no-store` every text "
    "is computed, whatever the cache holds."
)


def embed(services: Services, request: Request) -> Work[EmbeddedTexts] | Awaitable[Response]:
    """Embed texts, as vectors of unit length."""
    body, started = decode_body(request, OllamaEmbedRequest), time.perf_counter_ns()
    keep = _keeping(services, request, body)
    if not body.input:
        return _nothing(services, body.model, {"model": body.model, "embeddings": []}, keep)

    def respond(done: EmbeddedTexts) -> Response:
        keep()
        answer = {
            "model": body.model,
            "embeddings": done.vectors,
            "total_duration": time.perf_counter_ns() - started,
            "load_duration": 0,
            "prompt_eval_count": done.tokens,
        }
        return mark_truncated(array_answer(answer), done)

    is_list = not isinstance(body.input, str)
    texts = Texts(
        texts=body.input if isinstance(body.input, list) else [body.input],
        truncate=body.truncate is not False,
        max_tokens=_context(body.options),
        param="input",
        is_list=is_list,
        cache_group=cache_group(services, request),
    )
    form = VectorForm(dimensions=body.dimensions or None, dimensions_param="dimensions")
    return Work(EmbedTexts(model_named(services, body.model), texts, form), respond)


def embeddings(services: Services, request: Request) -> Work[EmbeddedTexts] | Awaitable[Response]:
    """Embed one text, as the vector that the model gives."""
    body = decode_body(request, OllamaEmbeddingsRequest)
    keep = _keeping(services, request, body)
    if not body.prompt:
        return _nothing(services, body.model, {"embedding": []}, keep)
    texts = Texts(
        texts=[body.prompt],
        max_tokens=_context(body.options),
        param="prompt",
        is_list=False,
        cache_group=cache_group(services, request),
    )

    def respond(done: EmbeddedTexts) -> Response:
        keep()
        return mark_truncated(array_answer({"embedding": done.vectors[0]}), done)

    return Work(EmbedTexts(model_named(services, body.model), texts, VectorForm(normalize=False)), respond)


async def _nothing(services: Services, model: str, answer: dict[str, object], keep: Callable[[], None]) -> Response:
    """Answer a request without a text, with which clients check that there is a model, load it or unload it."""
    await services.pipeline.model(model_named(services, model))
    keep()
    return array_answer(answer)


def _keeping(
    services: Services, request: Request, body: OllamaEmbedRequest | OllamaEmbeddingsRequest
) -> Callable[[], None]:
    """Return what applies the request's ``keep_alive`` once the model is loaded, if its key may change models."""
    if body.keep_alive is None:
        return lambda: None
    seconds = seconds_of(body.keep_alive, "keep_alive")
    if not services.keys.grants("models", credentials(request.headers)):
        return lambda: None
    return lambda: services.registry.keep_alive(model_named(services, body.model).name, seconds)


def _context(options: OllamaOptions | None) -> int | None:
    """Return the most tokens of a text; None for the model's limit."""
    limit = int(options.num_ctx or 0) if options is not None else 0
    return limit if limit > 0 else None


async def _refuse(what: str, services: Services, request: Request) -> Response:
    name = decode_body(request, OllamaGenerateRequest).model
    await services.pipeline.model(model_named(services, name))
    raise InvalidRequestError(f'"{name}" does not support {what}: this server embeds texts, it generates none.')


ROUTES = (
    inference_route(
        "ollama_embed",
        embed,
        "Embed texts; compatible with Ollama's clients.",
        OllamaEmbedRequest,
        OllamaEmbedAnswer,
        path="/api/embed",
        notes=_NOTES,
    ),
    inference_route(
        "ollama_embeddings",
        embeddings,
        "Embed one text, as older clients of Ollama do.",
        OllamaEmbeddingsRequest,
        OllamaEmbeddingsAnswer,
        path="/api/embeddings",
        notes=_NOTES,
    ),
    *(
        inference_route(
            f"ollama_{name}",
            partial(_refuse, name),
            "Always refused, as this server only embeds.",
            OllamaGenerateRequest,
            OllamaErrorAnswer,
            path=f"/api/{name}",
        )
        for name in ("generate", "chat")
    ),
)
