"""Voyage's dialect: its routes and errors."""

from __future__ import annotations

import numpy as np

from ingrain.errors import IngrainError, InvalidRequestError
from ingrain.pipeline.task import ModelName
from ingrain.preprocess.prompts import PromptChoice
from ingrain.preprocess.tokenized import lengths_of
from ingrain.server.dialects.voyage import types
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.answers import array_answer, base64_rows, mark_truncated
from ingrain.server.plane.bodies import decode
from ingrain.server.plane.cache_control import cache_group
from ingrain.server.plane.ranking import rank_documents
from ingrain.server.plane.route import Dialect, inference_route
from ingrain.server.plane.services import Services
from ingrain.tasks.embed_both import embed_both
from ingrain.tasks.embed_image import EmbedImages
from ingrain.tasks.embed_text import EmbedTexts
from ingrain.tasks.images import Images
from ingrain.tasks.texts import Texts
from ingrain.tasks.vectors import VectorForm


async def _rerank(services: Services, request: Request) -> Response:
    body = decode(request.body, types.VoyageRerankRequest)
    name, truncate = ModelName(name=body.model), body.truncation is not False
    done = await rank_documents(services, request, name, body.query, body.documents, truncate=truncate)
    data: list[dict[str, object]] = [
        {"relevance_score": done.scores[place], "index": int(place)} for place in done.order[: body.top_k]
    ]
    if body.return_documents:
        for result, place in zip(data, done.order, strict=False):
            result["document"] = body.documents[place]
    usage = {"total_tokens": sum(lengths_of(done.items))}
    return mark_truncated(array_answer({"object": "list", "data": data, "model": body.model, "usage": usage}), done)


async def _multimodal(services: Services, request: Request) -> Response:
    body = decode(request.body, types.VoyageMultimodalRequest)
    texts, images = _separate(body.inputs)
    name = ModelName(name=body.model)
    form = VectorForm(
        dimensions=body.output_dimension,
        dtype=body.output_dtype or "float",
        dimensions_param="output_dimension",
        dtype_param="output_dtype",
    )
    prompt = PromptChoice(input_type=body.input_type, input_type_param="input_type") if body.input_type else None
    given = Texts(
        texts=list(texts.values()),
        prompt=prompt,
        truncate=body.truncation is not False,
        param="inputs",
        places=list(texts),
        cache_group=cache_group(services, request),
    )
    pictures = Images(images=list(images.values()), param="inputs", places=list(images))
    done, image_rows = await embed_both(
        services.pipeline,
        EmbedTexts(name, given, form) if texts else None,
        EmbedImages(name, pictures, form) if images else None,
    )
    some = done.vectors if done is not None else image_rows
    assert some is not None
    rows = np.empty((len(body.inputs), some.shape[1]), some.dtype)
    if done is not None:
        rows[list(texts)] = done.vectors
    if image_rows is not None:
        rows[list(images)] = image_rows
    is_base64 = "base64" in (body.output_encoding, body.encoding_format) and form.dtype == "float"
    data = [
        {"object": "embedding", "embedding": row, "index": index}
        for index, row in enumerate(base64_rows(rows) if is_base64 else rows)
    ]
    tokens = done.tokens if done is not None else 0
    usage = {"text_tokens": tokens, "image_pixels": 0, "video_pixels": 0, "total_tokens": tokens}
    return mark_truncated(array_answer({"object": "list", "data": data, "model": body.model, "usage": usage}), done)


def _separate(inputs: list[types.VoyageInput]) -> tuple[dict[int, str], dict[int, str]]:
    """Return the texts and the images by their place.

    Raises:
        InvalidRequestError: An input has several parts, which Ingrain's models cannot put into one vector, or none.
    """
    texts: dict[int, str] = {}
    images: dict[int, str] = {}
    for place, given in enumerate(inputs):
        if len(given.content) != 1:
            raise InvalidRequestError(
                f"inputs[{place}] has {len(given.content)} parts; a vector is that of one text or one image.",
                param=f"inputs[{place}].content",
            )
        (part,) = given.content
        value: str | None = getattr(part, part.type)
        if value is None:
            raise InvalidRequestError(
                f"inputs[{place}] is of type {part.type}, but has no field of that name.",
                param=f"inputs[{place}].content[0]",
            )
        (texts if part.type == "text" else images)[place] = value
    return texts, images


def _error_body(error: IngrainError, status: int, request_id: str) -> dict[str, object]:
    del status, request_id
    return {"detail": error.message}


def _status(error: IngrainError, status: int) -> int:
    """Voyage's client knows 400, 401, 422, 429 and 5xx."""
    del error
    return 400 if status in (404, 413) else status


VOYAGE = Dialect(
    name="Voyage",
    routes=(
        inference_route(
            "voyage_rerank",
            _rerank,
            "Rank documents; compatible with Voyage's clients.",
            types.VoyageRerankRequest,
            types.VoyageRerankAnswer,
            path="/v1/rerank",
            example={
                "model": "cross-encoder/ms-marco-MiniLM-L6-v2",
                "query": "Where does the river run?",
                "documents": ["The river runs to the sea.", "A quiet stone."],
                "truncation": True,
            },
            told_by=("top_k", "truncation"),
            errors=(400, 413, 429, 503, 504),
            notes="X-Truncated-Texts is the number of truncated pairs, if there are any.",
        ),
        inference_route(
            "voyage_multimodal_embeddings",
            _multimodal,
            "Embed texts and images; compatible with Voyage's clients.",
            types.VoyageMultimodalRequest,
            types.VoyageMultimodalAnswer,
            path="/v1/multimodalembeddings",
            example={
                "model": "ViT-B-32",
                "inputs": [{"content": [{"type": "text", "text": "a red square"}]}],
            },
            takes_images=True,
            errors=(400, 413, 429, 503, 504),
            notes="X-Truncated-Texts is the number of truncated texts, if there are any.",
        ),
    ),
    error_body=_error_body,
    error_type=types.VoyageErrorAnswer,
    status=_status,
)
