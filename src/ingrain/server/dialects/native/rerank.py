"""Routes that score pairs of texts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ingrain.api.rerank import RerankAnswer, RerankRequest, ScoreAnswer, ScoreRequest
from ingrain.errors import InvalidRequestError
from ingrain.postprocess.probabilities import activate
from ingrain.server.dialects.native.fields import model_name, prompt_of
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.answers import array_answer, counts_of, mark_truncated, milliseconds_since
from ingrain.server.plane.bodies import decode
from ingrain.server.plane.cache_control import cache_group
from ingrain.server.plane.route import Work, inference_route
from ingrain.server.plane.services import Services
from ingrain.tasks.pairs import Pairs
from ingrain.tasks.rerank import rank
from ingrain.tasks.score import Scored, ScorePairs
from ingrain.tasks.texts import Texts


async def rerank(services: Services, request: Request) -> Response:
    """Rank documents."""
    body = decode(request.body, RerankRequest)
    started = time.perf_counter()
    query = Texts(
        texts=[body.query],
        prompt=prompt_of(body),
        truncate=body.truncate is not False,
        param="query",
        is_list=False,
        cache_group=cache_group(services, request),
    )
    pairs = Pairs(firsts=query, seconds=Texts(texts=_texts_of(body.documents), param="documents"))
    done = await rank(services.pipeline, model_name(body), pairs, raw=body.raw_scores is True)
    results: list[dict[str, object]] = [
        {"index": int(place), "score": done.scores[place]} for place in done.order[: body.top_n]
    ]
    if body.return_documents:
        for result, place in zip(results, done.order, strict=False):
            result["document"] = body.documents[place]
    answer: dict[str, object] = {"results": results}
    if body.token_counts:
        answer |= counts_of(done)
    return mark_truncated(array_answer(answer | {"processingTimeMs": milliseconds_since(started)}), done)


def score(services: Services, request: Request) -> Work[Scored]:
    """Score pairs."""
    body = decode(request.body, ScoreRequest)
    started = time.perf_counter()

    def respond(done: Scored) -> Response:
        scores = done.logits if body.raw_scores else activate(done.logits, done.scoring.activation)
        answer: dict[str, object] = {"scores": scores[:, 0] if scores.shape[1] == 1 else scores}
        if scores.shape[1] > 1:
            answer["labels"] = done.manifest.labels
        if body.token_counts:
            answer |= counts_of(done)
        return mark_truncated(array_answer(answer | {"processingTimeMs": milliseconds_since(started)}), done)

    firsts = Texts(
        texts=[first for first, _ in body.pairs],
        prompt=prompt_of(body),
        truncate=body.truncate is not False,
        param="pairs",
        cache_group=cache_group(services, request),
    )
    seconds = Texts(texts=[second for _, second in body.pairs], param="pairs")
    return Work(ScorePairs(model_name(body), Pairs(firsts=firsts, seconds=seconds)), respond)


def _texts_of(documents: Sequence[str | dict[str, Any]]) -> list[str]:
    texts = []
    for place, document in enumerate(documents):
        text = document if isinstance(document, str) else document.get("text")
        if not isinstance(text, str):
            raise InvalidRequestError(
                f"documents[{place}] has no text: a document is a text, or an object with the field `text`.",
                param=f"documents[{place}].text",
            )
        texts.append(text)
    return texts


ROUTES = (
    inference_route(
        "rerank",
        rerank,
        "Rank documents by their relevance to a query, with a cross-encoder.",
        RerankRequest,
        RerankAnswer,
        told_by=("name",),
        notes="X-Truncated-Texts is the number of truncated pairs of query and document, if there are any.",
    ),
    inference_route(
        "score",
        score,
        "Score pairs of texts with a cross-encoder.",
        ScoreRequest,
        ScoreAnswer,
        told_by=("name",),
        notes="X-Truncated-Texts is the number of truncated pairs, if there are any.",
    ),
)
