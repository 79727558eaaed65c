"""Answers requests for embeddings in OpenAI's dialect."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import msgspec
import numpy as np

from ingrain.api import openai as types
from ingrain.errors import InvalidRequestError, ModalityError, TooLargeError
from ingrain.models.loaded import LoadedModel
from ingrain.pipeline.pipeline import Pipeline
from ingrain.pipeline.task import ModelName
from ingrain.postprocess.quantize import NEEDS_RANGES, AnyVectors
from ingrain.preprocess.cl100k_base import decode as decode_token_ids
from ingrain.preprocess.cl100k_base import is_loaded
from ingrain.server.dialects.openai.fields import EmbeddingOptions, read_options
from ingrain.server.dialects.openai.infinity_types import NOT_SPECIFIED
from ingrain.server.dialects.openai.input import Input, read_input, read_messages
from ingrain.server.dialects.openai.plain import embed_plain, read_plain
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.answers import array_answer, base64_rows, mark_truncated
from ingrain.server.plane.bodies import decode
from ingrain.server.plane.cache_control import cache_group
from ingrain.server.plane.default_model import default_model
from ingrain.server.plane.route import Work
from ingrain.server.plane.services import Services
from ingrain.tasks.embed_both import embed_both
from ingrain.tasks.embed_image import EmbedImages
from ingrain.tasks.embed_text import EmbeddedTexts, EmbedTexts
from ingrain.tasks.images import Images
from ingrain.tasks.texts import Texts
from ingrain.tasks.vectors import dtype_converter

# Decoding at most so many token ids takes less time than starting a thread.
_INLINE_IDS = 1_000

Answering = Work[EmbeddedTexts] | Awaitable[Response]


def embeddings(services: Services, request: Request) -> Answering:
    """Embed texts, token ids and images."""
    plain = read_plain(services, request)
    if plain is not None:
        return embed_plain(services, request, plain, plain.model)
    return _answering(services, request, decode(request.body, types.OpenAIEmbeddingsRequest))


def embeddings_of_any_model(services: Services, request: Request) -> Answering:
    """Embed as ``embeddings`` does; the path may name the model, and a request need not name one."""
    plain = read_plain(services, request)
    if plain is not None and (model := request.variable or plain.model) != NOT_SPECIFIED:
        return embed_plain(services, request, plain, model)
    body = decode(request.body, types.AnyModelEmbeddingsRequest)
    if request.variable:
        body = msgspec.structs.replace(body, model=request.variable)
    elif body.model in (None, NOT_SPECIFIED):
        name = default_model(services, "image_encoder" if body.modality == "image" else "text_encoder")
        body = msgspec.structs.replace(body, model=name.name, library=name.library, pretrained=name.pretrained)
    if body.dimensions == 0:
        body = msgspec.structs.replace(body, dimensions=None)
    return _answering(services, request, body)


def _answering(services: Services, request: Request, body: types.OpenAIEmbeddingsRequest) -> Answering:
    options = read_options(body, cache_group(services, request))
    given = _input(body)
    _check_count(len(given), services.limits.openai_max_items)
    if given.token_ids is None:
        return _work(services, body, options, given)
    encoding = body.token_encoding or services.limits.openai_token_ids
    if encoding == "refuse":
        raise InvalidRequestError(
            "Token ids need `token_encoding` (cl100k_base or own) on this server; or send text.",
            param="input",
        )
    if encoding == "own":
        return _work(services, body, options, given, encoding)
    if is_loaded() and sum(map(len, given.token_ids)) <= _INLINE_IDS:
        return _work(services, body, options, _decoded(services, body, given), encoding)
    return _decode_in_a_thread(services, body, options, given)


def _input(body: types.OpenAIEmbeddingsRequest) -> Input:
    if body.messages is not None:
        if body.input is not msgspec.UNSET:
            raise InvalidRequestError("Both input and messages are given; give one of them.", param="messages")
        return read_messages(body.messages)
    if body.input is msgspec.UNSET:
        raise InvalidRequestError("Field 'input' is missing.", param="input")
    return read_input(body.input, body.modality)


def _work(
    services: Services,
    body: types.OpenAIEmbeddingsRequest,
    options: EmbeddingOptions,
    given: Input,
    encoding: types.TokenEncoding | None = None,
) -> Answering:
    """Return the work that answers a request.

    Args:
        services: Services of the plane.
        body: Body of the request.
        options: Embedding options.
        given: Items of the request.
        encoding: Encoding of the token ids; None if the request has none.
    """
    if given.images or given.may_hold_images or options.kinds:
        return _embed_in_steps(services, body, options, given, encoding)

    def respond(done: EmbeddedTexts) -> Response:
        rows = base64_rows(done.vectors) if options.as_base64 else done.vectors
        return _response(_answer(body, rows, given, done), done, encoding)

    return Work(EmbedTexts(_name(body), _texts(options, given), options.form), respond)


def _decoded(services: Services, body: types.OpenAIEmbeddingsRequest, given: Input) -> Input:
    """Decode OpenAI's token ids to texts, and read these like the texts of a request."""
    assert given.token_ids is not None
    texts = decode_token_ids(
        given.token_ids,
        name=Texts(token_ids=given.token_ids, param="input", is_list=given.is_list).name,
        most_chars=services.limits.max_text_chars,
        most_bytes=services.limits.max_body_bytes,
    )
    return read_input([*texts] if given.is_list else texts[0], body.modality)


async def _decode_in_a_thread(
    services: Services, body: types.OpenAIEmbeddingsRequest, options: EmbeddingOptions, given: Input
) -> Response:
    decoded = await asyncio.to_thread(_decoded, services, body, given)
    work = _work(services, body, options, decoded, "cl100k_base")
    return work.respond(await services.pipeline.run(work.task)) if isinstance(work, Work) else await work


async def _embed_in_steps(
    services: Services,
    body: types.OpenAIEmbeddingsRequest,
    options: EmbeddingOptions,
    given: Input,
    encoding: types.TokenEncoding | None,
) -> Response:
    """Embed what may hold images, or vectors in several types."""
    name = _name(body)
    model = await services.pipeline.model(name)
    if given.may_hold_images:
        given = given.separate_images(takes_images="image_encoder" in model.queues)
    writers = _writers(options, given, model)
    rows, texts = await _embed(services.pipeline, name, body, options, given)
    if not options.kinds:
        written: Sequence[object] = base64_rows(rows) if options.as_base64 else rows  # type: ignore[assignment]
    else:
        vectors = [write(rows) for write in writers]
        written = [dict(zip(options.kinds, of_item, strict=True)) for of_item in zip(*vectors, strict=True)]
    kind = "embedding_dict" if options.kinds else "embedding"
    return _response(_answer(body, written, given, texts, kind), texts, encoding)


def _writers(options: EmbeddingOptions, given: Input, model: LoadedModel) -> list[Callable[[Any], Iterable[object]]]:
    """Return what writes float vectors in each of the number types that the request asks for."""
    if given.images and (ranged := [kind for kind in options.kinds if kind in NEEDS_RANGES]):
        raise ModalityError(
            f"{ranged[0]} is not available for images; use float, binary or ubinary.", param=options.form.dtype_param
        )
    return [base64_rows if kind == "base64" else dtype_converter(options.form, kind, model) for kind in options.kinds]


def _response(answer: dict[str, object], texts: EmbeddedTexts | None, encoding: types.TokenEncoding | None) -> Response:
    response = mark_truncated(array_answer(answer), texts)
    if encoding is not None:
        response.headers["x-token-ids"] = encoding
    return response


def _name(body: types.OpenAIEmbeddingsRequest) -> ModelName:
    return ModelName(name=body.model, library=body.library, pretrained=body.pretrained)


async def _embed(
    pipeline: Pipeline, name: ModelName, body: types.OpenAIEmbeddingsRequest, options: EmbeddingOptions, given: Input
) -> tuple[AnyVectors, EmbeddedTexts | None]:
    """Return one row for each item, in order, and the embedded texts; None if there are only images."""
    texts_task = EmbedTexts(name, _texts(options, given), options.form) if len(given.text_places) else None
    images_task = None
    if given.images:
        images = Images(
            images=given.images, headers=body.image_download_headers, param=given.param, places=given.image_places
        )
        images_task = EmbedImages(name, images, options.form)
    texts, image_rows = await embed_both(pipeline, texts_task, images_task)
    if texts is None or image_rows is None:
        rows = texts.vectors if texts is not None else image_rows
        assert rows is not None
        return rows, texts
    rows = np.empty((len(given), image_rows.shape[1]), image_rows.dtype)
    rows[given.text_places] = texts.vectors
    rows[given.image_places] = image_rows
    return rows, texts


def _texts(options: EmbeddingOptions, given: Input) -> Texts:
    return Texts(
        texts=given.texts,
        token_ids=given.token_ids,
        prompt=options.prompt,
        truncate=options.truncate,
        cut_side=options.cut_side,
        max_tokens=options.max_tokens,
        param=given.param,
        places=given.text_places if given.images else None,
        is_list=given.is_list,
        cache_group=options.cache_group,
    )


def _answer(
    body: types.OpenAIEmbeddingsRequest,
    written: Iterable[object],
    given: Input,
    texts: EmbeddedTexts | None,
    kind: str = "embedding",
) -> dict[str, object]:
    data: list[dict[str, object]] = [
        {"object": kind, "index": index, "embedding": vector} for index, vector in enumerate(written)
    ]
    if body.token_counts and texts is not None:
        for place, item in zip(given.text_places, texts.items, strict=True):
            data[place] |= {"tokens": len(item), "truncated": item.cut_tokens > 0}
    tokens = texts.tokens if texts is not None else 0
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": body.model, "usage": usage}


def _check_count(count: int, limit: int) -> None:
    if count > limit:
        raise TooLargeError(
            f"input has {count} items; the limit is {limit} (INGRAIN_OPENAI_MAX_ITEMS).",
            param="input",
            facts={"limit": limit},
        )
