"""Routes that rank documents; clients of Jina and vLLM use them too."""

from __future__ import annotations

from ingrain.errors import InvalidRequestError
from ingrain.preprocess.tokenized import lengths_of
from ingrain.server.dialects.cohere import types
from ingrain.server.dialects.cohere.answer import answer_with_meta, new_id
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.bodies import decode
from ingrain.server.plane.ranking import rank_documents, ranking_model, texts_of
from ingrain.server.plane.services import Services

_DOCUMENTS_A_UNIT = 100


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
    name = ranking_model(services, body.model)
    done = await rank_documents(
        services,
        request,
        name,
        body.query,
        texts_of(body.documents, "documents", body.rank_fields or ("text",)),
        truncate=True,
        document_tokens=body.max_tokens_per_doc,
    )
    results: list[dict[str, object]] = [
        {"index": int(place), "relevance_score": done.scores[place]} for place in done.order[: body.top_n]
    ]
    if body.return_documents:
        for result, place in zip(results, done.order, strict=False):
            document = body.documents[place]
            whole = {"text": document} if isinstance(document, str) else document
            result["document"] = whole
    units = {"search_units": -(-len(body.documents) // _DOCUMENTS_A_UNIT)}
    answer: dict[str, object] = {
        "id": new_id(),
        "results": results,
        "model": name.name,
        "usage": {"total_tokens": sum(lengths_of(done.items))},
    }
    return answer_with_meta(answer, version, units, done)
