"""Cohere's dialect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ingrain.server.dialects.cohere import types
from ingrain.server.dialects.cohere.embed import embed_v1, embed_v2
from ingrain.server.dialects.cohere.errors import error_body, status
from ingrain.server.dialects.cohere.models import check_api_key, model, models
from ingrain.server.dialects.cohere.rerank import rerank_v1, rerank_v2
from ingrain.server.dialects.cohere.tokens import detokenize, tokenize
from ingrain.server.plane.route import Dialect, Parameter, Route, inference_route

_ERRORS = (400, 404, 413, 422, 429, 503, 504)
# GET /v1/models is OpenAI's too; the clients that Cohere publishes send this header.
_OF_COHERES_CLIENTS = ("x-fern-sdk-name",)
_CACHE_NOTES = " With `Cache-Control: no-store` every text is computed, whatever the cache holds."
_EMBED_NOTES = "X-Truncated-Texts is the number of cut texts, if there are any." + _CACHE_NOTES
_RERANK_NOTES = "X-Truncated-Texts is the number of cut pairs of query and document, if there are any."


_TEXT_MODEL, _RERANKER = "intfloat/e5-small-v2", "cross-encoder/ms-marco-MiniLM-L6-v2"
_TEXTS: dict[str, object] = {
    "model": _TEXT_MODEL,
    "texts": ["The river runs to the sea.", "A quiet stone."],
    "input_type": "search_document",
    "embedding_types": ["float", "int8"],
}
_RANKED: dict[str, object] = {
    "model": _RERANKER,
    "query": "Where does the river run?",
    "documents": ["The river runs to the sea.", "A quiet stone."],
    "top_n": 1,
}
_EXAMPLES: dict[str, dict[str, object]] = {
    "embed": _TEXTS,
    "rerank": _RANKED,
    "tokenize": {"model": _TEXT_MODEL, "text": "a red apple"},
    "detokenize": {"model": _TEXT_MODEL, "tokens": [1037, 2417, 6207]},
}


def _post(
    path: str, handler: Callable[..., Any], summary: str, request: type, answer: type, notes: str = "", **fields: Any
) -> Route:
    version, name = path.strip("/").split("/")
    return inference_route(
        f"cohere_{name}_{version}",
        handler,
        summary,
        request,
        answer,
        path=path,
        notes=notes,
        errors=_ERRORS,
        example=_EXAMPLES[name],
        **fields,
    )


def _get(path: str, name: str, handler: Callable[..., Any], summary: str, answer: type, **fields: Any) -> Route:
    return Route(
        name=name,
        plane="inference",
        method="GET",
        path=path,
        handler=handler,
        summary=summary,
        answer=answer,
        scope="infer",
        told_by=_OF_COHERES_CLIENTS,
        **fields,
    )


ROUTES = (
    _post(
        "/v2/embed",
        embed_v2,
        "Embed texts or images in several number types; compatible with Cohere's clients.",
        types.CohereEmbedV2Request,
        types.CohereEmbedV2Answer,
        _EMBED_NOTES,
        takes_images=True,
    ),
    _post(
        "/v1/embed",
        embed_v1,
        "Embed texts or images; compatible with older clients of Cohere.",
        types.CohereEmbedRequest,
        types.CohereEmbedV1Answer,
        _EMBED_NOTES,
        takes_images=True,
    ),
    _post(
        "/v2/rerank",
        rerank_v2,
        "Rank documents; compatible with Cohere's clients.",
        types.CohereRerankV2Request,
        types.CohereRerankAnswer,
        _RERANK_NOTES,
    ),
    _post(
        "/v1/rerank",
        rerank_v1,
        "Rank documents, also objects of several fields; compatible with clients of Cohere, Jina and vLLM.",
        types.CohereRerankRequest,
        types.CohereRerankAnswer,
        _RERANK_NOTES,
    ),
    _post(
        "/v1/tokenize",
        tokenize,
        "Return the tokens of a text.",
        types.CohereTokenizeRequest,
        types.CohereTokenizeAnswer,
    ),
    _post(
        "/v1/detokenize",
        detokenize,
        "Return the text of tokens.",
        types.CohereDetokenizeRequest,
        types.CohereDetokenizeAnswer,
    ),
    Route(
        name="cohere_check_api_key",
        plane="inference",
        method="POST",
        path="/v1/check-api-key",
        handler=check_api_key,
        summary="Say that the API key is valid.",
        answer=types.CohereCheckApiKeyAnswer,
        scope="infer",
    ),
    _get(
        "/v1/models",
        "cohere_models",
        models,
        "List the loaded models; compatible with Cohere's clients.",
        types.CohereModelsAnswer,
        query=(Parameter(name="endpoint", description="Only models for this endpoint: `embed` or `rerank`."),),
    ),
    _get("/v1/models/{model}", "cohere_model", model, "Describe one loaded model.", types.CohereModel, errors=(404,)),
)

COHERE = Dialect(
    name="Cohere",
    routes=ROUTES,
    error_body=error_body,
    error_type=types.CohereErrorAnswer,
    prefix="/cohere/",
    status=status,
    mounts=("", "/cohere"),
)
