"""Infinity's dialect: OpenAI's API without /v1, reranking and classifying."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import numpy as np

from ingrain.api import openai
from ingrain.errors import IngrainError, InvalidRequestError, TextTooLongError, TooLargeError
from ingrain.models.loaded import LoadedModel
from ingrain.pipeline.task import ModelName
from ingrain.preprocess.tokenized import TokenizedText, lengths_of
from ingrain.server.dialects.openai import infinity_types as types
from ingrain.server.dialects.openai.embeddings import embeddings_of_any_model
from ingrain.server.dialects.openai.models import listed
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.answers import array_answer, mark_truncated, struct_answer
from ingrain.server.plane.bodies import decode
from ingrain.server.plane.cache_control import cache_group
from ingrain.server.plane.default_model import default_model
from ingrain.server.plane.ranking import rank_documents, ranking_model, sigmoid_of
from ingrain.server.plane.route import Dialect, Route, Work, inference_route
from ingrain.server.plane.services import Services
from ingrain.tasks.classify_text import probabilities_of
from ingrain.tasks.score import Scored, ScoreTexts
from ingrain.tasks.texts import Texts
from ingrain.vocabulary import Role

Capability = Literal["embed", "image_embed", "rerank", "classify"]

_ERRORS = (400, 404, 413, 422, 429, 503, 504)
_CAPABILITIES: dict[Role, Capability] = {
    "text_encoder": "embed",
    "image_encoder": "image_embed",
    "multi_vector_encoder": "rerank",
}


async def _rerank(services: Services, request: Request) -> Response:
    body = decode(request.body, types.InfinityRerankRequest)
    name = ranking_model(services, _given(body.model))
    done = await rank_documents(services, request, name, body.query, body.documents, truncate=True, raw=True)
    scores = done.scores if body.raw_scores else await sigmoid_of(services, name, done.scores)
    results: list[dict[str, object]] = [
        {"relevance_score": scores[place], "index": int(place)} for place in done.order[: body.top_n]
    ]
    if body.return_documents:
        for result, place in zip(results, done.order, strict=False):
            result["document"] = body.documents[place]
    answer = {"object": "rerank", "results": results, **_ending(name, done.items)}
    return mark_truncated(array_answer(answer), done)


def _classify(services: Services, request: Request) -> Work[Scored]:
    body = decode(request.body, types.InfinityClassifyRequest)
    given = _given(body.model)
    if given is not None:
        name = ModelName(name=given)
    else:
        name = default_model(services, "text_scorer", fits=lambda model: len(model.manifest.labels) > 1)

    def respond(done: Scored) -> Response:
        rows = done.logits if body.raw_scores else probabilities_of(done)
        labels = done.manifest.labels
        data = [
            [{"label": labels[place], "score": row[place]} for place in np.argsort(-row, kind="stable")] for row in rows
        ]
        return mark_truncated(array_answer({"object": "classify", "data": data, **_ending(name, done.items)}), done)

    texts = Texts(texts=body.input, param="input", cache_group=cache_group(services, request))
    return Work(ScoreTexts(name, texts), respond)


async def _models(services: Services, request: Request) -> Response:
    del request
    data = [_describe(name, model) for name, model in listed(services)]
    return struct_answer(types.InfinityModelsAnswer(data=data, object="list"))


def _given(name: str) -> str | None:
    return None if name == types.NOT_SPECIFIED else name


def _ending(name: ModelName, items: Sequence[TokenizedText]) -> dict[str, object]:
    """Return the last fields of an answer."""
    tokens = sum(lengths_of(items))
    return {
        "model": name.name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "id": f"infinity-{uuid.uuid4()}",
        "created": int(time.time()),
    }


def _describe(name: str, model: LoadedModel) -> types.InfinityModel:
    manifest = model.manifest
    queues = list(model.queues.values())
    of_scores: Capability = "classify" if len(manifest.labels) > 1 else "rerank"
    able = [of_scores if role == "text_scorer" else _CAPABILITIES.get(role) for role in model.queues]
    return types.InfinityModel(
        id=name,
        stats=types.InfinityStats(
            queue_fraction=0.0,
            queue_absolute=0,
            results_pending=0,
            batch_size=max((queue.limits.max_items for queue in queues), default=0),
        ),
        object="model",
        owned_by="infinity",
        created=int(datetime.fromisoformat(manifest.created_at).timestamp()),
        backend="onnx",
        capabilities=[capability for capability in able if capability is not None],
    )


def numbered_error(error: IngrainError, status: int, request_id: str) -> dict[str, object]:
    """Return OpenAI's error object with the HTTP status as its code."""
    del request_id  # only the response headers have it
    param, message = "model" if error.param == "name" else error.param, error.message
    if isinstance(error, TextTooLongError):  # only vLLM's requests can be refused for that
        limit, tokens = error.facts["limit"], error.facts["tokens"]
        message = (
            f"{param} has {tokens} tokens, and the limit is {limit}. Shorten it, or send truncate_prompt_tokens -1."
        )
    return {"error": {**error.facts, "message": message, "type": error.code, "param": param, "code": status}}


def _status(error: IngrainError, usual: int) -> int:
    """Return 422 for a body that is wrong for any model, as Infinity does; its 400 is for what a model cannot do."""
    if type(error) not in (InvalidRequestError, TooLargeError) or error.param == "model":
        return usual
    if error.param is None:
        return usual if type(error) is TooLargeError else 422
    return usual if error.param == "dimensions" and error.facts else 422


def _error_body(error: IngrainError, status: int, request_id: str) -> dict[str, object]:
    body = numbered_error(error, status, request_id)
    if status == 422:
        path = [int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", error.param or "")]
        body["detail"] = [{"type": error.code, "loc": ["body", *path], "msg": error.message}]
    return body


INFINITY = Dialect(
    name="Infinity",
    routes=(
        inference_route(
            "infinity_embeddings",
            embeddings_of_any_model,
            "Embed as at /v1/embeddings; compatible with Infinity's clients.",
            openai.AnyModelEmbeddingsRequest,
            openai.OpenAIEmbeddingsAnswer,
            path="/embeddings",
            errors=_ERRORS,
            example={"model": "intfloat/e5-small-v2", "input": ["The river runs to the sea."]},
            takes_images=True,
        ),
        inference_route(
            "infinity_rerank",
            _rerank,
            "Rank documents; compatible with Infinity's clients.",
            types.InfinityRerankRequest,
            types.InfinityRerankAnswer,
            path="/rerank",
            errors=_ERRORS,
            example={
                "model": "cross-encoder/ms-marco-MiniLM-L6-v2",
                "query": "Where does the river run?",
                "documents": ["The river runs to the sea.", "A quiet stone."],
                "raw_scores": False,
            },
            told_by=("raw_scores",),
            notes="X-Truncated-Texts is the number of truncated pairs, if there are any.",
        ),
        inference_route(
            "infinity_classify",
            _classify,
            "Classify texts; compatible with Infinity's clients.",
            types.InfinityClassifyRequest,
            types.InfinityClassifyAnswer,
            path="/classify",
            errors=_ERRORS,
            example={
                "model": "distilbert/distilbert-base-uncased-finetuned-sst-2-english",
                "input": ["What a day!"],
                "raw_scores": False,
            },
            told_by=("raw_scores",),
            notes="X-Truncated-Texts is the number of truncated texts, if there are any.",
        ),
        Route(
            name="infinity_models",
            plane="inference",
            method="GET",
            path="/models",
            handler=_models,
            summary="List the loaded models; compatible with Infinity's clients.",
            answer=types.InfinityModelsAnswer,
            scope="infer",
        ),
    ),
    error_body=_error_body,
    error_type=types.InfinityErrorAnswer,
    status=_status,
    prefix="/infinity/",
    mounts=("", "/infinity"),
)
