"""Routes that rank documents; clients of Jina and vLLM use them too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ingrain.errors import InvalidRequestError
from ingrain.pipeline.task import ModelName
from ingrain.preprocess.tokenized import lengths_of
from ingrain.server.dialects.cohere import types
from ingrain.server.dialects.cohere.answer import answer_with_meta, new_id
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.bodies import decode
from ingrain.server.plane.cache_control import cache_group
from ingrain.server.plane.default_model import default_model
from ingrain.server.plane.services import Services
from ingrain.tasks.pairs import Pairs
from ingrain.tasks.rerank import can_rerank, rank
from ingrain.tasks.score import ROLE
from ingrain.tasks.texts import Texts
from ingrain.tasks.token_vectors import MULTI_VECTOR
from ingrain.tasks.tokenize import shorten_texts

_DOCUMENTS_A_UNIT = 100
_DEFAULT_FIELDS = ("text",)


async def rerank_v1(services: Services, request: Request) -> Response:
    """Rank in version 1, where a request need not name a model."""
    return await _rerank(services, request, decode(request.body, types.CohereRerankRequest), "1")


async def rerank_v2(services: Services, request: Request) -> Response:
    """Rank in version 2."""
    return await _rerank(services, request, decode(request.body, types.CohereRerankV2Request), "2")


async def _rerank(services: Services, request: Request, body: types.CohereRerankRequest, version: str) -> Response:
    if body.relevant_spans is not None and body.relevant_spans.mode != "disabled":
        raise InvalidRequestError(
            "relevant_spans are not available here; set the mode 'disabled'.", param="relevant_spans"
        )
    if body.model is not None:
        name = ModelName(name=body.model)
    else:
        name = default_model(services, ROLE, MULTI_VECTOR, fits=can_rerank)
    query = Texts(texts=[body.query], param="query", is_list=False, cache_group=cache_group(services, request))
    documents = Texts(texts=_texts_of(body.documents, body.rank_fields or _DEFAULT_FIELDS), param="documents")
    if body.max_tokens_per_doc is not None:
        shortened = await shorten_texts(services.pipeline, name, documents, body.max_tokens_per_doc)
        documents = msgspec.structs.replace(documents, texts=shortened)
    done = await rank(services.pipeline, name, Pairs(firsts=query, seconds=documents))
    results: list[dict[str, object]] = [
        {"index": int(place), "relevance_score": done.scores[place]} for place in done.order[: body.top_n]
    ]
    if body.return_documents:
        for result, place in zip(results, done.order, strict=False):
            document = body.documents[place]
            result["document"] = {"text": document} if isinstance(document, str) else document
    units = {"search_units": -(-len(body.documents) // _DOCUMENTS_A_UNIT)}
    answer: dict[str, object] = {
        "id": new_id(),
        "results": results,
        "model": name.name,
        "usage": {"total_tokens": sum(lengths_of(done.items))},
    }
    return answer_with_meta(answer, version, units, done)


def _texts_of(documents: Sequence[str | Mapping[str, Any]], fields: Sequence[str]) -> list[str]:
    return [
        document if isinstance(document, str) else _text_of(document, fields, f"documents[{place}]")
        for place, document in enumerate(documents)
    ]


def _text_of(document: Mapping[str, Any], fields: Sequence[str], name: str) -> str:
    """Return the fields of a document, each in a line.

    Raises:
        InvalidRequestError: It has none of the fields, or one is no text.
    """
    values = [document[field] for field in fields if field in document]
    if not values or not all(isinstance(value, str) for value in values):
        raise InvalidRequestError(
            f"{name} must be a text, or an object with texts in some of these fields: {', '.join(fields)[:200]}.",
            param=name,
        )
    return "\n".join(values)
