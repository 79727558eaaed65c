"""The routes that speak OpenAI's dialect: one short function a route."""

from __future__ import annotations

import asyncio
from datetime import datetime
from functools import partial

import numpy as np

from ingrain.api import openai as types
from ingrain.errors import InvalidRequestError, ModelNotLoadedError, TooLargeError
from ingrain.models.loaded import LoadedModel
from ingrain.pipeline.pipeline import Pipeline
from ingrain.pipeline.requests import EmbeddedTexts, ModelName, Pictures, Texts
from ingrain.postprocess.quantize import NEEDS_RANGES, AnyVectors, OutputDtype
from ingrain.preprocess.cl100k_base import decode, is_loaded
from ingrain.preprocess.prompts import prompts_of
from ingrain.server.dialects.openai.fields import Wanted, read_wanted
from ingrain.server.dialects.openai.input import Input, Modality, read_input
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.answers import array_answer, base64_rows, mark_truncated, struct_answer
from ingrain.server.plane.bodies import decode_open
from ingrain.server.plane.services import Services
from ingrain.server.plane.text_work import OtherWork, TextWork

_DTYPES: tuple[OutputDtype, ...] = ("float", "int8", "uint8", "binary", "ubinary")
_MODELS = "/v1/models/"
# To decode so many takes less time than handing them to a thread would.
_INLINE_IDS = 1_000


def read_texts(services: Services, request: Request) -> TextWork | OtherWork:
    """Read a request to embed texts, token ids and, with models that see, pictures."""
    body = decode_open(request.body, types.OpenAIEmbeddingsRequest)
    wanted = read_wanted(body)
    given = read_input(body.input, body.modality)
    _check_count(len(given), services.settings.openai_max_items)
    if given.token_ids is None:
        return _work(services, body, wanted, given)
    encoding = body.token_encoding or services.settings.openai_token_ids
    if encoding == "refuse":
        raise InvalidRequestError(
            "input holds token ids, which this server does not take unless the request says what they are: send text, "
            "or `token_encoding`, which is cl100k_base or own.",
            param="input",
        )
    if encoding == "own":
        return _work(services, body, wanted, given, encoding)
    if is_loaded() and sum(map(len, given.token_ids)) <= _INLINE_IDS:
        return _work(services, body, wanted, _decoded(services, body, given), encoding)
    return partial(_decode_first, services, body, wanted, given)


async def models(services: Services, request: Request) -> Response:
    """List the loaded models."""
    del request
    return struct_answer(
        types.OpenAIModelsAnswer(object="list", data=[_describe(model) for model in services.registry.loaded()])
    )


async def model(services: Services, request: Request) -> Response:
    """Describe one loaded model."""
    name = request.path.removeprefix(_MODELS)
    for found in services.registry.loaded():
        if found.manifest.name == name:
            return struct_answer(_describe(found))
    raise ModelNotLoadedError(
        f"Model {name[:100]!r} is not loaded. GET /v1/models lists the loaded ones.", param="model"
    )


def _work(
    services: Services,
    body: types.OpenAIEmbeddingsRequest,
    wanted: Wanted,
    given: Input,
    encoding: types.TokenEncoding | None = None,
) -> TextWork | OtherWork:
    """Return what a request comes to.

    Args:
        services: Of the plane.
        body: The request.
        wanted: What it says of its vectors.
        given: Its input.
        encoding: What its token ids were taken for, if it holds any.
    """
    if given.pictures or given.may_hold_pictures:
        return partial(_embeddings, services, body, wanted, given, encoding)

    def respond(done: EmbeddedTexts) -> Response:
        return _response(_answer(body, wanted, done.vectors, given, done), done, encoding)

    return TextWork(_name(body), _texts(wanted, given), wanted.form, respond)


def _decoded(services: Services, body: types.OpenAIEmbeddingsRequest, given: Input) -> Input:
    """Return OpenAI's token ids as the texts that they stand for, as if these had been sent."""
    assert given.token_ids is not None
    texts = decode(
        given.token_ids,
        name=Texts(token_ids=given.token_ids, param="input", is_list=given.is_list).name,
        most_chars=services.settings.max_text_chars,
        most_bytes=services.settings.max_body_bytes,
    )
    return read_input([*texts] if given.is_list else texts[0], body.modality)


async def _decode_first(
    services: Services, body: types.OpenAIEmbeddingsRequest, wanted: Wanted, given: Input
) -> Response:
    decoded = await asyncio.to_thread(_decoded, services, body, given)
    work = _work(services, body, wanted, decoded, "cl100k_base")
    if isinstance(work, TextWork):
        return work.respond(await services.pipeline.embed_text(work.name, work.texts, work.form))
    return await work()


async def _embeddings(
    services: Services,
    body: types.OpenAIEmbeddingsRequest,
    wanted: Wanted,
    given: Input,
    encoding: types.TokenEncoding | None,
) -> Response:
    name = _name(body)
    if given.may_hold_pictures:
        given = given.told_apart(takes_images=await services.pipeline.takes_images(name))
    rows, texts = await _embed(services.pipeline, name, body, wanted, given)
    return _response(_answer(body, wanted, rows, given, texts), texts, encoding)


def _response(answer: dict[str, object], texts: EmbeddedTexts | None, encoding: types.TokenEncoding | None) -> Response:
    response = mark_truncated(array_answer(answer), texts)
    if encoding is not None:
        response.headers["x-token-ids"] = encoding
    return response


def _name(body: types.OpenAIEmbeddingsRequest) -> ModelName:
    return ModelName(name=body.model, library=body.library, pretrained=body.pretrained)


async def _embed(
    pipeline: Pipeline, name: ModelName, body: types.OpenAIEmbeddingsRequest, wanted: Wanted, given: Input
) -> tuple[AnyVectors, EmbeddedTexts | None]:
    """Return one row an item, in order, and what became of the texts among them."""
    if not given.pictures:
        done = await pipeline.embed_text(name, _texts(wanted, given), wanted.form)
        return done.vectors, done
    pictures = Pictures(
        images=given.pictures, headers=body.image_download_headers, param="input", places=given.picture_places
    )
    if not given.texts:
        return await pipeline.embed_images(name, pictures, wanted.form), None
    texts, images = await pipeline.embed_both(name, _texts(wanted, given), pictures, wanted.form)
    assert texts is not None
    assert images is not None
    rows: AnyVectors = np.empty((len(given), images.shape[1]), images.dtype)
    rows[given.text_places] = texts.vectors
    rows[given.picture_places] = images
    return rows, texts


def _texts(wanted: Wanted, given: Input) -> Texts:
    return Texts(
        texts=given.texts,
        token_ids=given.token_ids,
        prompt=wanted.prompt,
        truncate=wanted.truncate,
        cut_side=wanted.cut_side,
        param="input",
        places=given.text_places if given.pictures else None,
        is_list=given.is_list,
    )


def _answer(
    body: types.OpenAIEmbeddingsRequest, wanted: Wanted, rows: AnyVectors, given: Input, texts: EmbeddedTexts | None
) -> dict[str, object]:
    written = base64_rows(rows) if wanted.as_base64 else rows
    data: list[dict[str, object]] = [
        {"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(written)
    ]
    if body.token_counts and texts is not None:
        for place, item in zip(given.text_places, texts.items, strict=True):
            data[place] |= {"tokens": len(item), "truncated": item.cut_tokens > 0}
    tokens = texts.tokens if texts is not None else 0
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": body.model, "usage": usage}


def _describe(model: LoadedModel) -> types.OpenAIModel:
    manifest, text = model.manifest, model.manifest.text
    towers: dict[Modality, object | None] = {"text": model.text_queue, "image": model.image_queue}
    return types.OpenAIModel(
        id=manifest.name,
        object="model",
        created=int(datetime.fromisoformat(manifest.created_at).timestamp()),
        owned_by=manifest.library,
        library=manifest.library,
        pretrained=manifest.pretrained,
        dimensions=manifest.embedding_size,
        max_tokens=text.max_tokens if text is not None else None,
        modalities=[kind for kind, queue in towers.items() if queue is not None],
        prompts=prompts_of(text) if text is not None else {},
        default_prompt_name=text.default_prompt_name if text is not None else None,
        output_dtypes=[kind for kind in _DTYPES if kind not in NEEDS_RANGES or model.calibration is not None],
    )


def _check_count(count: int, limit: int) -> None:
    if count > limit:
        raise TooLargeError(
            f"input has {count} items; the limit is {limit} (INGRAIN_OPENAI_MAX_ITEMS).",
            param="input",
            facts={"limit": limit},
        )
