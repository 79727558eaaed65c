"""TEI's dialect: every route at the root, for the default model, and below ``/tei/{model}``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ingrain.server.dialects.tei import embed, info, score, tokens, types
from ingrain.server.dialects.tei.errors import error_body, status
from ingrain.server.dialects.tei.root import root
from ingrain.server.plane.route import Dialect, Handler, Route, inference_route

_OF_A_MODEL = "/tei/{model}"
_ERRORS = (400, 404, 413, 422, 424, 429, 503, 504)
_HEADERS = (
    "X-Compute-Time and X-Total-Time are milliseconds, X-Compute-Characters and X-Compute-Tokens sizes. "
    "X-Truncated-Texts is the number of truncated texts, if there are any."
)


_TEXTS = {"inputs": ["The river runs to the sea.", "A quiet stone."]}
_EXAMPLES: dict[type, Mapping[str, object]] = {
    types.TeiEmbedRequest: {**_TEXTS, "truncate": True},
    types.TeiEmbedRawRequest: _TEXTS,
    types.TeiSimilarityRequest: {"inputs": {"source_sentence": "The river.", "sentences": ["The sea.", "A stone."]}},
    types.TeiRerankRequest: {"query": "Where does the river run?", "texts": _TEXTS["inputs"], "return_text": True},
    types.TeiPredictRequest: {"inputs": "What a day!"},
    types.TeiRootRequest: _TEXTS,
    types.TeiTokenizeRequest: _TEXTS,
    types.TeiOpenAIRequest: {"input": _TEXTS["inputs"]},
    types.TeiDecodeRequest: {"ids": [101, 1996, 2314, 102]},
}


def _post(path: str, handler: Handler, summary: str, request: type, answer: type, notes: str = "") -> Route:
    """Return a route that the fields of its bodies tell apart from other dialects' routes."""
    told_by = ("texts",) if request is types.TeiRerankRequest else ("inputs",)
    return inference_route(
        f"tei_{path.strip('/').replace('/', '_') or 'root'}",
        handler,
        summary,
        request,
        answer,
        path=path,
        errors=_ERRORS,
        notes=notes,
        told_by=told_by if path != "/" else (),
        example=_EXAMPLES[request],
    )


_AT_THE_ROOT = (
    _post("/embed", embed.embed, "Embed texts.", types.TeiEmbedRequest, types.EmbedAnswer, _HEADERS),
    _post(
        "/embed_all",
        embed.embed_all,
        "Embed each token of texts.",
        types.TeiEmbedRawRequest,
        types.EmbedAllAnswer,
        _HEADERS,
    ),
    _post(
        "/embed_sparse",
        embed.embed_sparse,
        "Embed texts into sparse vectors.",
        types.TeiEmbedRawRequest,
        types.EmbedSparseAnswer,
        _HEADERS,
    ),
    _post(
        "/similarity",
        embed.similarity,
        "Return the cosines of a sentence with others.",
        types.TeiSimilarityRequest,
        types.SimilarityAnswer,
        _HEADERS,
    ),
    _post(
        "/rerank",
        score.rerank,
        "Rank texts by their relevance to a query.",
        types.TeiRerankRequest,
        types.RerankAnswer,
        _HEADERS,
    ),
    _post(
        "/predict",
        score.predict,
        "Classify texts or pairs of texts.",
        types.TeiPredictRequest,
        types.PredictAnswer,
        _HEADERS,
    ),
    _post("/", root, "Do what the model does, by the fields.", types.TeiRootRequest, types.RootAnswer, _HEADERS),
    _post(
        "/tokenize",
        tokens.tokenize,
        "Return the tokens of texts.",
        types.TeiTokenizeRequest,
        types.TokenizeAnswer,
    ),
    _post(
        "/decode",
        tokens.decode_tokens,
        "Return the texts of token ids.",
        types.TeiDecodeRequest,
        types.DecodeAnswer,
    ),
    Route(
        name="tei_info",
        plane="inference",
        method="GET",
        path="/info",
        handler=info.info,
        summary="Describe the model and the limits of requests.",
        answer=types.TeiInfoAnswer,
        scope="infer",
        errors=(404, 422, 424, 503),
    ),
)
# At the root it is OpenAI's dialect that has this path.
_OPENAI = _post(
    "/v1/embeddings",
    embed.embed_as_openai,
    "Embed texts for a client of OpenAI's API.",
    types.TeiOpenAIRequest,
    types.TeiOpenAIAnswer,
    _HEADERS,
)
_HEALTH = Route(
    name="tei_health",
    plane="inference",
    method="GET",
    path="/health",
    handler=info.health,
    summary="Answer 200 without a body if the model serves.",
    scope="infer",
    errors=(404, 422, 503),
)


def _of_a_model(route: Route) -> Route:
    """Return the same route for the model that the path names."""
    return replace(route, name=f"{route.name}_of_model", path=f"{_OF_A_MODEL}{route.path}".rstrip("/"), told_by=())


TEI = Dialect(
    name="TEI",
    routes=(*_AT_THE_ROOT, *map(_of_a_model, (*_AT_THE_ROOT, _OPENAI, _HEALTH))),
    error_body=error_body,
    error_type=types.TeiErrorAnswer,
    prefix="/tei/",
    status=status,
)
