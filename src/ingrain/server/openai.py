"""The routes that speak OpenAI's dialect: one short function a route."""

from __future__ import annotations

from datetime import datetime
from functools import partial

import numpy as np

from ingrain.api import openai as types
from ingrain.errors import ModelNotLoadedError, TooLargeError
from ingrain.loaded_model import LoadedModel
from ingrain.pipeline.asked import EmbeddedTexts, ModelName, Pictures, Texts, VectorForm
from ingrain.pipeline.pipeline import Pipeline
from ingrain.postprocess.quantize import NEEDS_RANGES, AnyVectors, OutputDtype
from ingrain.preprocess.prompts import PromptChoice, prompts_of
from ingrain.server.answers import array_answer, base64_rows, mark_truncated, struct_answer
from ingrain.server.bodies import decode_open
from ingrain.server.http.message import Request, Response
from ingrain.server.openai_input import Input, Modality, read_input
from ingrain.server.services import Services
from ingrain.server.text_work import OtherWork, TextWork

_DTYPES: tuple[OutputDtype, ...] = ("float", "int8", "uint8", "binary", "ubinary")
_MODELS = "/v1/models/"


def read_texts(services: Services, request: Request) -> TextWork | OtherWork:
    """Read a request to embed texts, token ids and, with models that see, pictures."""
    body = decode_open(request.body, types.OpenAIEmbeddingsRequest)
    given = read_input(body.input, body.modality)
    _check_count(len(given), services.settings.openai_max_items)
    if given.pictures or given.may_hold_pictures:
        return partial(_embeddings, services, body, given)

    def respond(done: EmbeddedTexts) -> Response:
        return mark_truncated(array_answer(_answer(body, done.vectors, given, done)), done)

    return TextWork(_name(body), _texts(body, given), _form(body), respond)


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


async def _embeddings(services: Services, body: types.OpenAIEmbeddingsRequest, given: Input) -> Response:
    name = _name(body)
    if given.may_hold_pictures:
        given = given.told_apart(takes_images=await services.pipeline.takes_images(name))
    rows, texts = await _embed(services.pipeline, name, body, given)
    return mark_truncated(array_answer(_answer(body, rows, given, texts)), texts)


def _name(body: types.OpenAIEmbeddingsRequest) -> ModelName:
    return ModelName(name=body.model, library=body.library, pretrained=body.pretrained)


def _form(body: types.OpenAIEmbeddingsRequest) -> VectorForm:
    return VectorForm(
        normalize=body.normalize is not False,
        dimensions=body.dimensions,
        dtype=body.output_dtype or "float",
        dimensions_param="dimensions",
    )


async def _embed(
    pipeline: Pipeline, name: ModelName, body: types.OpenAIEmbeddingsRequest, given: Input
) -> tuple[AnyVectors, EmbeddedTexts | None]:
    """Return one row an item, in order, and what became of the texts among them."""
    form = _form(body)
    if not given.pictures:
        done = await pipeline.embed_text(name, _texts(body, given), form)
        return done.vectors, done
    pictures = Pictures(
        images=given.pictures, headers=body.image_download_headers, param="input", places=given.picture_places
    )
    if not given.texts:
        return await pipeline.embed_images(name, pictures, form), None
    texts, images = await pipeline.embed_both(name, _texts(body, given), pictures, form)
    assert texts is not None
    assert images is not None
    rows: AnyVectors = np.empty((len(given), images.shape[1]), images.dtype)
    rows[given.text_places] = texts.vectors
    rows[given.picture_places] = images
    return rows, texts


def _texts(body: types.OpenAIEmbeddingsRequest, given: Input) -> Texts:
    prompt = None
    if body.prompt is not None or body.prompt_name is not None or body.input_type is not None:
        prompt = PromptChoice(text=body.prompt, name=body.prompt_name, input_type=body.input_type)
    return Texts(
        texts=given.texts,
        token_ids=given.token_ids,
        prompt=prompt,
        truncate=body.truncate is not False,
        param="input",
        places=given.text_places if given.pictures else None,
        is_list=given.is_list,
    )


def _answer(
    body: types.OpenAIEmbeddingsRequest, rows: AnyVectors, given: Input, texts: EmbeddedTexts | None
) -> dict[str, object]:
    # The official client asks for base64 by itself and takes what it gets for float32; a list it leaves alone.
    as_base64 = body.encoding_format == "base64" and body.output_dtype in (None, "float")
    written = base64_rows(rows) if as_base64 else rows
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
