"""Routes that embed texts and images."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from ingrain.errors import InvalidRequestError, ModalityError
from ingrain.pipeline.task import ModelName
from ingrain.postprocess.quantize import NEEDS_RANGES, AnyVectors, OutputDtype
from ingrain.preprocess.prompts import PromptChoice
from ingrain.server.dialects.cohere import types
from ingrain.server.dialects.cohere.answer import answer_with_meta, new_id
from ingrain.server.dialects.cohere.inputs import Inputs, read_inputs
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.answers import base64_rows
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
from ingrain.tasks.tokenize import shorten_texts
from ingrain.tasks.vectors import VectorForm, dtype_converter

_PROMPTS = {
    kind: PromptChoice(input_type=kind, input_type_param="input_type", needs_prompt=False)
    for kind in ("search_document", "search_query", "classification", "clustering")
}

Answering = Work[EmbeddedTexts] | Awaitable[Response]
Kinds = Sequence[types.EmbeddingType] | None
"""Number types of the vectors; None for version 1's plain list."""
Converters = dict[str, Callable[[Any], AnyVectors]]
"""Make other number types of float vectors, ``float32 [N, D]``."""


def embed_v1(services: Services, request: Request) -> Answering:
    """Embed in version 1, where a request need not name a model."""
    body = decode(request.body, types.CohereEmbedRequest)
    kinds = list(dict.fromkeys(body.embedding_types)) if body.embedding_types else None
    return _answering(services, request, body, kinds, "1")


def embed_v2(services: Services, request: Request) -> Answering:
    """Embed in version 2."""
    body = decode(request.body, types.CohereEmbedV2Request)
    return _answering(services, request, body, list(dict.fromkeys(body.embedding_types or ["float"])), "2")


def _answering(
    services: Services, request: Request, body: types.CohereEmbedRequest, kinds: Kinds, version: str
) -> Answering:
    given = read_inputs(body)
    if body.model is not None:
        name = ModelName(name=body.model)
    else:
        name = default_model(services, "image_encoder" if given.images else "text_encoder")
    # base64 is written of the float vectors.
    dtypes: set[OutputDtype] = {"float" if kind == "base64" else kind for kind in kinds or ("float",)}
    form = VectorForm(
        dimensions=body.output_dimension,
        dtype=next(iter(dtypes)) if len(dtypes) == 1 else "float",
        dimensions_param="output_dimension",
        dtype_param="embedding_types",
    )
    texts = _texts(body, given, cache_group(services, request)) if given.texts else None
    if texts is None or given.images or len(dtypes) > 1 or body.max_tokens is not None:
        return _embed(services, name, given, texts, body.max_tokens, form, dtypes, kinds, version)

    def respond(done: EmbeddedTexts) -> Response:
        return _response(given, _written(done.vectors, kinds, {}), done, kinds, version)

    return Work(EmbedTexts(name, texts, form), respond)


async def _embed(
    services: Services,
    name: ModelName,
    given: Inputs,
    texts: Texts | None,
    max_tokens: int | None,
    form: VectorForm,
    dtypes: set[OutputDtype],
    kinds: Kinds,
    version: str,
) -> Response:
    """Embed images, or texts of a limited length, or embed in several number types, made of the float vectors."""
    if given.images and (refused := dtypes.intersection(NEEDS_RANGES)):
        raise ModalityError(
            f"{refused.pop()} is not available for images; use float, binary or ubinary.", param="embedding_types"
        )
    converters: Converters = {}
    if len(dtypes) > 1:
        model = await services.pipeline.model(name)
        converters = {dtype: dtype_converter(form, dtype, model) for dtype in dtypes if dtype != "float"}
    if texts is not None and max_tokens is not None:
        shortened = await shorten_texts(services.pipeline, name, texts, max_tokens)
        texts = msgspec.structs.replace(texts, texts=shortened)
    images = Images(images=given.images, param=given.param, places=given.image_places)
    done, image_rows = await embed_both(
        services.pipeline,
        EmbedTexts(name, texts, form) if texts is not None else None,
        EmbedImages(name, images, form) if given.images else None,
    )
    rows: AnyVectors
    if image_rows is None:
        assert done is not None
        rows = done.vectors
    elif done is None:
        rows = image_rows
    else:
        rows = np.empty((len(done.vectors) + len(image_rows), image_rows.shape[1]), image_rows.dtype)
        rows[given.text_places], rows[given.image_places] = done.vectors, image_rows
    return _response(given, _written(rows, kinds, converters), done, kinds, version)


def _texts(body: types.CohereEmbedRequest, given: Inputs, group: int | None) -> Texts:
    prompt = None
    if body.input_type == "image":
        if given.param == "texts":
            raise InvalidRequestError("input_type is 'image', but the request has texts.", param="input_type")
    elif body.input_type is not None:
        prompt = _PROMPTS[body.input_type]
    return Texts(
        texts=given.texts,
        prompt=prompt,
        truncate=body.truncate != "NONE",
        cut_side="left" if body.truncate == "START" else "right",
        param=given.param,
        places=given.text_places if given.param == "inputs" else None,
        cache_group=group,
    )


def _written(rows: AnyVectors, kinds: Kinds, converters: Converters) -> object:
    """Return the vectors as they are written, by their number type if the request names any."""
    if kinds is None:
        return rows
    written: dict[str, object] = {}
    for kind in kinds:
        if kind == "base64":
            written[kind] = base64_rows(rows)
        else:
            written[kind] = converters[kind](rows) if kind in converters else rows
    return written


def _response(given: Inputs, embeddings: object, done: EmbeddedTexts | None, kinds: Kinds, version: str) -> Response:
    units: dict[str, int] = {}
    if done is not None:
        units["input_tokens"] = done.tokens
    if given.images:
        units["images"] = len(given.images)
    answer: dict[str, object] = {
        "id": new_id(),
        "response_type": "embeddings_floats" if kinds is None else "embeddings_by_type",
        "embeddings": embeddings,
        "texts": given.texts if given.param == "texts" else [],
    }
    return answer_with_meta(answer, version, units, done)
