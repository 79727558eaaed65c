"""Mixedbread's API for reranking. Its embeddings are OpenAI's, with further fields."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ingrain.api import fields
from ingrain.errors import IngrainError, InvalidRequestError
from ingrain.preprocess.tokenized import lengths_of
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.answers import array_answer, mark_truncated
from ingrain.server.plane.bodies import decode
from ingrain.server.plane.ranking import rank_documents, ranking_model, texts_of
from ingrain.server.plane.route import Dialect, inference_route
from ingrain.server.plane.services import Services

_TOP_K = 10  # of a request that does not say how many


class MixedbreadRerankRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Documents to rank by their relevance to a query. Unknown fields are ignored."""

    model: Annotated[
        fields.Name | None, Meta(description="Not needed if a single loaded model can rank, or there is a default.")
    ] = None
    query: str
    input: Annotated[
        list[str | dict[str, Any]],
        Meta(min_length=1, description="Texts, or objects with `text` or the fields that `rank_fields` names."),
    ]
    rank_fields: Annotated[
        Annotated[list[str], Meta(min_length=1)] | None,
        Meta(description="Fields of the objects that are read, in this order, each in a line (default `text`)."),
    ] = None
    top_k: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="Number of results, the best ones (default 10).")
    ] = None
    return_input: Annotated[bool | None, Meta(description="True to add each document to its result.")] = None
    rewrite_query: Annotated[bool | None, Meta(description="`true` is refused.")] = None


class MixedbreadRanked(msgspec.Struct, frozen=True, kw_only=True):
    """A document's place in the request and its score."""

    index: int
    score: float
    object: Literal["rank_result"]
    input: Annotated[Any, Meta(description="The document, if requested.")] = None


class MixedbreadUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of all pairs."""

    prompt_tokens: int
    total_tokens: int


class MixedbreadRerankAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The documents by falling score."""

    usage: MixedbreadUsage
    model: str
    data: list[MixedbreadRanked]
    object: Literal["list"]
    top_k: int
    return_input: bool


class MixedbreadErrorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Body of an error response."""

    type: str
    message: str
    details: Annotated[dict[str, Any], Meta(description="The field at fault, and facts such as a limit.")]
    url: None


async def _rerank(services: Services, request: Request) -> Response:
    body = decode(request.body, MixedbreadRerankRequest)
    if body.rewrite_query:
        raise InvalidRequestError("rewrite_query is true; queries are used as they are.", param="rewrite_query")
    name = ranking_model(services, body.model)
    documents = texts_of(body.input, "input", body.rank_fields or ("text",))
    done = await rank_documents(services, request, name, body.query, documents, truncate=True, param="input")
    tokens, top_k = sum(lengths_of(done.items)), body.top_k or _TOP_K
    answer = {
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "model": name.name,
        "data": [
            {
                "index": int(place),
                "score": done.scores[place],
                "input": body.input[place] if body.return_input else None,
                "object": "rank_result",
            }
            for place in done.order[:top_k]
        ],
        "object": "list",
        "top_k": top_k,
        "return_input": bool(body.return_input),
    }
    return mark_truncated(array_answer(answer), done)


def _error_body(error: IngrainError, status: int, request_id: str) -> dict[str, object]:
    del status, request_id
    details = {**error.facts, "param": "model" if error.param == "name" else error.param}
    return {"type": error.code, "message": error.message, "details": details, "url": None}


MIXEDBREAD = Dialect(
    name="Mixedbread",
    routes=(
        inference_route(
            "mixedbread_reranking",
            _rerank,
            "Rank documents; compatible with Mixedbread's clients.",
            MixedbreadRerankRequest,
            MixedbreadRerankAnswer,
            path="/v1/reranking",
            example={
                "model": "cross-encoder/ms-marco-MiniLM-L6-v2",
                "query": "Where does the river run?",
                "input": ["The river runs to the sea.", "A quiet stone."],
            },
            notes="X-Truncated-Texts is the number of truncated pairs, if there are any.",
        ),
    ),
    error_body=_error_body,
    error_type=MixedbreadErrorAnswer,
)
