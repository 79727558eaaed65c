"""The inference plane: one short function a route."""

from __future__ import annotations

import time

from ingrain.api import types
from ingrain.errors import InvalidRequestError
from ingrain.pipeline.requests import EmbeddedTexts, Labels, ModelName, Pictures, Texts, VectorForm
from ingrain.postprocess.quantize import AnyVectors
from ingrain.preprocess.prompts import PromptChoice
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.accept import preferred
from ingrain.server.plane.answers import (
    array_answer,
    base64_rows,
    counts_of,
    mark_truncated,
    milliseconds_since,
    struct_answer,
    vectors_answer,
)
from ingrain.server.plane.bodies import decode
from ingrain.server.plane.services import Services
from ingrain.server.plane.telemetry import model_stats
from ingrain.server.plane.text_work import TextWork
from ingrain.server.plane.uploads import read_pictures

_PROMETHEUS = ("text/plain", "application/openmetrics-text")


async def health(services: Services, request: Request) -> Response:
    """Answer that the process lives."""
    del services, request
    return struct_answer(types.MessageAnswer(message="The inference server is running."))


async def ready(services: Services, request: Request) -> Response:
    """Answer whether all that should be served is."""
    del request
    reasons = await reasons_not_ready(services)
    answer = struct_answer(types.ReadyAnswer(ready=not reasons, reasons=reasons), 503 if reasons else 200)
    if reasons:
        answer.headers["retry-after"] = "1"
    return answer


def read_texts(services: Services, request: Request) -> TextWork:
    """Read a request to embed texts."""
    del services
    body = decode(request.body, types.EmbedTextRequest)
    started = time.perf_counter()

    def respond(done: EmbeddedTexts) -> Response:
        return vectors_answer(
            request,
            done.vectors,
            started,
            as_base64=body.encoding_format == "base64",
            texts=done,
            with_counts=body.token_counts is True,
        )

    return TextWork(_name(body), _texts(body, body.text), _form(body), respond)


async def embed_image(services: Services, request: Request) -> Response:
    """Embed pictures."""
    body, files = await read_pictures(request, types.EmbedImageRequest, services.settings)
    started = time.perf_counter()
    rows = await services.pipeline.embed_images(_name(body), _pictures(body, files, body.image), _form(body))
    return vectors_answer(request, rows, started, as_base64=body.encoding_format == "base64")


async def embed(services: Services, request: Request) -> Response:
    """Embed texts and pictures side by side."""
    body, files = await read_pictures(request, types.EmbedRequest, services.settings)
    if body.text is None and body.image is None:
        raise InvalidRequestError("Nothing to embed: give `text`, `image` or both.", param="text")
    started = time.perf_counter()
    pictures = _pictures(body, files, body.image) if body.image is not None else None
    texts = _texts(body, body.text) if body.text is not None else None
    done, image_rows = await services.pipeline.embed_both(_name(body), texts, pictures, _form(body))
    answer: dict[str, object] = {
        "textEmbeddings": _written(body, done.vectors if done is not None else None),
        "imageEmbeddings": _written(body, image_rows),
    }
    if body.token_counts and done is not None:
        answer |= counts_of(done)
    return mark_truncated(array_answer(answer | {"processingTimeMs": milliseconds_since(started)}), done)


async def classify_image(services: Services, request: Request) -> Response:
    """Classify pictures with the model's own labels."""
    body, files = await read_pictures(request, types.ClassifyImageRequest, services.settings)
    started = time.perf_counter()
    rows = await services.pipeline.classify_images(_name(body), _pictures(body, files, body.image))
    return array_answer({"probabilities": rows, "processingTimeMs": milliseconds_since(started)})


async def classify_image_zero_shot(services: Services, request: Request) -> Response:
    """Classify pictures with labels of the caller's own."""
    body, files = await read_pictures(request, types.ZeroShotRequest, services.settings)
    started = time.perf_counter()
    labels = Labels(names=tuple(body.labels), templates=tuple(body.templates or ("{}",)))
    pictures = _pictures(body, files, body.image)
    rows = await services.pipeline.classify_zero_shot(_name(body), pictures, labels)
    return array_answer({"labels": body.labels, "probabilities": rows, "processingTimeMs": milliseconds_since(started)})


async def metrics(services: Services, request: Request) -> Response:
    """Answer the engine's statistics, as JSON or for Prometheus."""
    statistics = await services.statistics()
    accept = request.header("accept")
    if preferred(accept, ("application/json", *_PROMETHEUS)) in _PROMETHEUS:
        text, media_type = await services.telemetry.prometheus(accept, statistics)
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


Body = (
    types.EmbedTextRequest
    | types.EmbedImageRequest
    | types.EmbedRequest
    | types.ClassifyImageRequest
    | types.ZeroShotRequest
)


def _name(body: Body) -> ModelName:
    return ModelName(name=body.name, library=body.library, pretrained=body.pretrained)


def _form(body: types.EmbedTextRequest | types.EmbedImageRequest | types.EmbedRequest) -> VectorForm:
    return VectorForm(normalize=body.normalize is not False, dimensions=body.n_dims, dtype=body.output_dtype or "float")


def _texts(body: types.EmbedTextRequest | types.EmbedRequest, given: str | list[str]) -> Texts:
    prompt = None
    if body.prompt is not None or body.prompt_name is not None or body.input_type is not None:
        prompt = PromptChoice(text=body.prompt, name=body.prompt_name, input_type=body.input_type)
    return Texts(texts=_list(given), prompt=prompt, truncate=body.truncate is not False)


def _written(body: types.EmbedRequest, rows: AnyVectors | None) -> AnyVectors | list[str] | None:
    return base64_rows(rows) if rows is not None and body.encoding_format == "base64" else rows


def _list(given: str | list[str]) -> list[str]:
    return [given] if isinstance(given, str) else given


def _pictures(
    body: types.EmbedImageRequest | types.EmbedRequest | types.ClassifyImageRequest | types.ZeroShotRequest,
    files: list[bytes],
    image: str | list[str],
) -> Pictures:
    return Pictures(images=files or _list(image), headers=body.image_download_headers)
