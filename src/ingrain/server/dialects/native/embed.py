"""Routes that embed texts and images."""

from __future__ import annotations

import time
from typing import Any

from ingrain.api import types
from ingrain.api.embed_outputs import EmbedTextAnswer
from ingrain.errors import InvalidRequestError
from ingrain.postprocess.quantize import AnyVectors
from ingrain.server.dialects.native.embed_outputs import embed_outputs
from ingrain.server.dialects.native.fields import images_of, model_name, texts_of, vector_form
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.answers import (
    VECTOR_MEDIA,
    array_answer,
    base64_rows,
    counts_of,
    mark_truncated,
    milliseconds_since,
    vectors_answer,
)
from ingrain.server.plane.bodies import decode
from ingrain.server.plane.cache_control import cache_group
from ingrain.server.plane.route import Work, inference_route
from ingrain.server.plane.services import Services
from ingrain.server.plane.uploads import read_image_body
from ingrain.tasks.embed_both import embed_both
from ingrain.tasks.embed_image import EmbedImages
from ingrain.tasks.embed_text import EmbeddedTexts, EmbedTexts

_VECTOR_NOTES = (
    "If `Accept` prefers application/octet-stream, the response is the raw numbers, with X-Embeddings-Shape and "
    "X-Embeddings-Dtype; if it prefers application/x-npy, a file for numpy.load. X-Truncated-Texts is the number of "
    "truncated texts, if there are any."
)
_CACHE_NOTES = " With `Cache-Control: no-store` every text is computed, whatever the cache holds."
_OUTPUTS_NOTES = " With other `outputs` than `dense` the response is always JSON."


def embed_text(services: Services, request: Request) -> Work[Any]:
    """Embed texts."""
    body = decode(request.body, types.EmbedTextRequest)
    if body.outputs is not None:
        return embed_outputs(services, request, body, body.outputs)
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

    texts = texts_of(body, body.text, cache_group(services, request))
    return Work(EmbedTexts(model_name(body), texts, vector_form(body)), respond)


async def embed_image(services: Services, request: Request) -> Response:
    """Embed images."""
    body, files = await read_image_body(services, request, types.EmbedImageRequest)
    started = time.perf_counter()
    task = EmbedImages(model_name(body), images_of(body, files, body.image), vector_form(body))
    rows = await services.pipeline.run(task)
    return vectors_answer(request, rows, started, as_base64=body.encoding_format == "base64")


async def embed(services: Services, request: Request) -> Response:
    """Embed texts and images in one request."""
    body, files = await read_image_body(services, request, types.EmbedRequest)
    if body.text is None and body.image is None:
        raise InvalidRequestError("Nothing to embed: give `text`, `image` or both.", param="text")
    started = time.perf_counter()
    name, form = model_name(body), vector_form(body)
    images = EmbedImages(name, images_of(body, files, body.image), form) if body.image is not None else None
    texts = None
    if body.text is not None:
        texts = EmbedTexts(name, texts_of(body, body.text, cache_group(services, request)), form)
    done, image_rows = await embed_both(services.pipeline, texts, images)
    answer: dict[str, object] = {
        "textEmbeddings": _written(body, done.vectors if done is not None else None),
        "imageEmbeddings": _written(body, image_rows),
    }
    if body.token_counts and done is not None:
        answer |= counts_of(done)
    return mark_truncated(array_answer(answer | {"processingTimeMs": milliseconds_since(started)}), done)


def _written(body: types.EmbedRequest, rows: AnyVectors | None) -> AnyVectors | list[str] | None:
    return base64_rows(rows) if rows is not None and body.encoding_format == "base64" else rows


ROUTES = (
    inference_route(
        "embed_text",
        embed_text,
        "Embed texts.",
        types.EmbedTextRequest,
        EmbedTextAnswer,
        notes=_VECTOR_NOTES + _CACHE_NOTES + _OUTPUTS_NOTES,
        media=VECTOR_MEDIA,
    ),
    inference_route(
        "embed_image",
        embed_image,
        "Embed images.",
        types.EmbedImageRequest,
        types.EmbeddingsAnswer,
        notes=_VECTOR_NOTES,
        media=VECTOR_MEDIA,
        takes_images=True,
        takes_forms=True,
    ),
    inference_route(
        "embed",
        embed,
        "Embed texts and images in one request.",
        types.EmbedRequest,
        types.EmbedAnswer,
        takes_images=True,
        takes_forms=True,
    ),
)
