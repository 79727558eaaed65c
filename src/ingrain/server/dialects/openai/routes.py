"""Routes of OpenAI's dialect: embeddings and the list of models."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import datetime

import numpy as np

from ingrain.api import openai as types
from ingrain.errors import InvalidRequestError, ModelNotLoadedError, TooLargeError
from ingrain.models.loaded import LoadedModel
from ingrain.pipeline.pipeline import Pipeline
from ingrain.pipeline.task import ModelName
from ingrain.postprocess.quantize import NEEDS_RANGES, AnyVectors, OutputDtype
from ingrain.preprocess.cl100k_base import decode as decode_token_ids
from ingrain.preprocess.cl100k_base import is_loaded
from ingrain.preprocess.prompts import prompts_of
from ingrain.server.dialects.openai.fields import EmbeddingOptions, read_options
from ingrain.server.dialects.openai.input import Input, Modality, read_input
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.answers import array_answer, base64_rows, mark_truncated, struct_answer
from ingrain.server.plane.bodies import decode
from ingrain.server.plane.cache_control import cache_group
from ingrain.server.plane.route import Route, Work, inference_route
from ingrain.server.plane.services import Services
from ingrain.tasks.embed_both import embed_both
from ingrain.tasks.embed_image import EmbedImages
from ingrain.tasks.embed_outputs import OUTPUT_ROLES
from ingrain.tasks.embed_text import EmbeddedTexts, EmbedTexts
from ingrain.tasks.images import Images
from ingrain.tasks.texts import Texts
from ingrain.vocabulary import Role

_DTYPES: tuple[OutputDtype, ...] = ("float", "int8", "uint8", "binary", "ubinary")
# Decoding at most so many token ids takes less time than starting a thread.
_INLINE_IDS = 1_000

Answering = Work[EmbeddedTexts] | Awaitable[Response]


def _embeddings(services: Services, request: Request) -> Answering:
    """Embed texts, token ids and images."""
    body = decode(request.body, types.OpenAIEmbeddingsRequest)
    options = read_options(body, cache_group(services, request))
    given = read_input(body.input, body.modality)
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


async def _models(services: Services, request: Request) -> Response:
    del request
    return struct_answer(
        types.OpenAIModelsAnswer(object="list", data=[_describe(model) for model in services.registry.loaded()])
    )


async def _model(services: Services, request: Request) -> Response:
    name = request.variable
    for found in services.registry.loaded():
        if found.manifest.name == name:
            return struct_answer(_describe(found))
    raise ModelNotLoadedError(
        f"Model {name[:100]!r} is not loaded. GET /v1/models lists the loaded ones.", param="model"
    )


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
    if given.images or given.may_hold_images:
        return _embed_with_images(services, body, options, given, encoding)

    def respond(done: EmbeddedTexts) -> Response:
        return _response(_answer(body, options, done.vectors, given, done), done, encoding)

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


async def _embed_with_images(
    services: Services,
    body: types.OpenAIEmbeddingsRequest,
    options: EmbeddingOptions,
    given: Input,
    encoding: types.TokenEncoding | None,
) -> Response:
    name = _name(body)
    if given.may_hold_images:
        given = given.separate_images(takes_images="image_encoder" in (await services.pipeline.model(name)).queues)
    rows, texts = await _embed(services.pipeline, name, body, options, given)
    return _response(_answer(body, options, rows, given, texts), texts, encoding)


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
            images=given.images, headers=body.image_download_headers, param="input", places=given.image_places
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
        param="input",
        places=given.text_places if given.images else None,
        is_list=given.is_list,
        cache_group=options.cache_group,
    )


def _answer(
    body: types.OpenAIEmbeddingsRequest,
    options: EmbeddingOptions,
    rows: AnyVectors,
    given: Input,
    texts: EmbeddedTexts | None,
) -> dict[str, object]:
    written = base64_rows(rows) if options.as_base64 else rows
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
    towers: dict[Modality, Role] = {"text": "text_encoder", "image": "image_encoder"}
    return types.OpenAIModel(
        id=manifest.name,
        object="model",
        created=int(datetime.fromisoformat(manifest.created_at).timestamp()),
        owned_by=manifest.library,
        library=manifest.library,
        pretrained=manifest.pretrained,
        task=manifest.task,
        dimensions=manifest.dimensions,
        labels=list(manifest.labels) if manifest.scoring is not None else [],
        max_tokens=text.max_tokens if text is not None else None,
        modalities=[kind for kind, role in towers.items() if role in model.queues],
        outputs=[output for output, role in OUTPUT_ROLES.items() if role in manifest.roles],
        prompts=prompts_of(text) if text is not None else {},
        default_prompt_name=text.default_prompt_name if text is not None else None,
        output_dtypes=[kind for kind in _DTYPES if kind not in NEEDS_RANGES or model.calibration is not None]
        if any(role in model.queues for role in towers.values())
        else [],
    )


def _check_count(count: int, limit: int) -> None:
    if count > limit:
        raise TooLargeError(
            f"input has {count} items; the limit is {limit} (INGRAIN_OPENAI_MAX_ITEMS).",
            param="input",
            facts={"limit": limit},
        )


ROUTES = (
    inference_route(
        "openai_embeddings",
        _embeddings,
        "Embed texts, token ids or images; compatible with OpenAI's clients.",
        types.OpenAIEmbeddingsRequest,
        types.OpenAIEmbeddingsAnswer,
        path="/v1/embeddings",
        takes_images=True,
        notes="X-Token-Ids is the encoding that was used for token ids, if the input has any. X-Truncated-Texts is the "
        "number of truncated texts, if there are any. With `Cache-Control: no-store` every text is computed, whatever "
        "the cache holds.",
    ),
    Route(
        name="openai_models",
        plane="inference",
        method="GET",
        path="/v1/models",
        handler=_models,
        summary="List the loaded models with their prompts; compatible with OpenAI's clients.",
        answer=types.OpenAIModelsAnswer,
        scope="infer",
    ),
    Route(
        name="openai_model",
        plane="inference",
        method="GET",
        path="/v1/models/{model}",
        handler=_model,
        summary="Describe one loaded model.",
        answer=types.OpenAIModel,
        scope="infer",
        errors=(404,),
    ),
)
