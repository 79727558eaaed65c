"""NVIDIA's API of NIM for ranking, and its health checks. Its embeddings are OpenAI's, with further fields."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ingrain.api import fields
from ingrain.errors import EngineUnavailableError, IngrainError, InvalidRequestError
from ingrain.preprocess.tokenized import lengths_of
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.answers import array_answer, mark_truncated, struct_answer
from ingrain.server.plane.bodies import decode
from ingrain.server.plane.ranking import rank_documents, ranking_model
from ingrain.server.plane.readiness import reasons_not_ready
from ingrain.server.plane.route import Dialect, Route, inference_route
from ingrain.server.plane.services import Services


class NimText(msgspec.Struct, frozen=True, kw_only=True):
    """The query, or a document."""

    text: str
    image: Annotated[str | None, Meta(description="Refused: the models rank texts.")] = None


class NimRankingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Passages to rank by their relevance to a query. Unknown fields are ignored."""

    model: Annotated[
        fields.Name | None, Meta(description="Not needed if a single loaded model can rank, or there is a default.")
    ] = None
    query: NimText
    passages: Annotated[list[NimText], Meta(min_length=1)]
    truncate: Annotated[
        Literal["NONE", "END"] | None,
        Meta(description="`END` truncates a pair that is too long; `NONE` (default) refuses it."),
    ] = None


class NimRanking(msgspec.Struct, frozen=True, kw_only=True):
    """The place of a passage in the request, and its raw score."""

    index: int
    logit: float


class NimUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of all pairs."""

    prompt_tokens: int
    total_tokens: int


class NimRankingAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The passages by falling score."""

    rankings: list[NimRanking]
    usage: NimUsage


class NimHealth(msgspec.Struct, frozen=True, kw_only=True):
    """State of the server."""

    object: Literal["health.response"]
    message: str
    status: Literal["live", "ready"]


class NimErrorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Body of an error response."""

    object: Literal["error"]
    message: str
    detail: Annotated[dict[str, Any], Meta(description="The field at fault, and facts such as a limit.")]
    type: str


async def _ranking(services: Services, request: Request) -> Response:
    body = decode(request.body, NimRankingRequest)
    for param, text in (("query", body.query), *((f"passages[{n}]", one) for n, one in enumerate(body.passages))):
        if text.image is not None:
            raise InvalidRequestError(
                f"{param} has an image; passages are ranked by their text alone.", param=f"{param}.image"
            )
    done = await rank_documents(
        services,
        request,
        ranking_model(services, body.model or request.variable or None),
        body.query.text,
        [passage.text for passage in body.passages],
        truncate=body.truncate == "END",
        raw=True,
        param="passages",
    )
    tokens = sum(lengths_of(done.items))
    rankings = [{"index": int(place), "logit": done.scores[place]} for place in done.order]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return mark_truncated(array_answer({"rankings": rankings, "usage": usage}), done)


async def _health(status: Literal["live", "ready"], services: Services, request: Request) -> Response:
    del request
    if status == "ready" and await reasons_not_ready(services):  # reasons name models, and this route needs no key
        raise EngineUnavailableError("The service is not ready.", retry_after_s=1.0)
    return struct_answer(NimHealth(object="health.response", message=f"Service is {status}.", status=status))


def _error_body(error: IngrainError, status: int, request_id: str) -> dict[str, object]:
    del request_id  # only the response headers have it
    param = "model" if error.param == "name" else error.param
    return {
        "object": "error",
        "message": error.message,
        "detail": {**error.facts, "param": param, "code": error.code},
        "type": "internal_server_error" if status >= 500 else "invalid_request_error",
    }


def _ranking_route(name: str, path: str) -> Route:
    return inference_route(
        name,
        _ranking,
        "Rank passages; compatible with the clients of NVIDIA's NIM.",
        NimRankingRequest,
        NimRankingAnswer,
        path=path,
        example={
            "model": "cross-encoder/ms-marco-MiniLM-L6-v2",
            "query": {"text": "Where does the river run?"},
            "passages": [{"text": "The river runs to the sea."}, {"text": "A quiet stone."}],
        },
        notes="X-Truncated-Texts is the number of truncated pairs, if there are any.",
    )


def _health_route(status: Literal["live", "ready"], summary: str) -> Route:
    return Route(
        name=f"nim_{status}",
        plane="inference",
        method="GET",
        path=f"/v1/health/{status}",
        handler=partial(_health, status),
        summary=summary,
        answer=NimHealth,
        errors=(503,) if status == "ready" else (),
    )


NIM = Dialect(
    name="NIM",
    routes=(
        _ranking_route("nim_ranking", "/v1/ranking"),
        _ranking_route("nim_reranking_of_model", "/v1/retrieval/{model}/reranking"),
        _health_route("live", "Liveness, as NVIDIA's NIM says it."),
        _health_route("ready", "Readiness, as NVIDIA's NIM says it."),
    ),
    error_body=_error_body,
    error_type=NimErrorAnswer,
)
