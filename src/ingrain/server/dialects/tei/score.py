"""Routes that rank and classify texts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from ingrain.errors import InvalidRequestError, ModelLoadingError, ModelNotLoadedError
from ingrain.pipeline.task import ModelName, Rows
from ingrain.postprocess.probabilities import sigmoid, softmax
from ingrain.preprocess.tokenized import TokenizedText
from ingrain.server.dialects.tei import types
from ingrain.server.dialects.tei.errors import empty
from ingrain.server.dialects.tei.inputs import cut_side_of, measured, model_of
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.answers import array_answer, mark_cut, mark_truncated
from ingrain.server.plane.bodies import decode
from ingrain.server.plane.cache_control import cache_group
from ingrain.server.plane.ranking import rank_documents, sigmoid_of
from ingrain.server.plane.route import Work
from ingrain.server.plane.services import Services
from ingrain.tasks.classify_text import probabilities_of
from ingrain.tasks.item_limit import check_count
from ingrain.tasks.pairs import Pairs
from ingrain.tasks.rerank import can_rerank
from ingrain.tasks.score import ROLE, Scored, ScorePairs, ScoreTexts
from ingrain.tasks.texts import Texts
from ingrain.tasks.token_vectors import MULTI_VECTOR

_MOST_OF_A_PAIR = 2

Respond = Callable[[Sequence[list[dict[str, object]]], Sequence[TokenizedText]], Response]
"""Makes the response from the predictions of each input, and the tokenized inputs."""


async def rerank(services: Services, request: Request) -> Response:
    """Rank texts by their relevance to a query."""
    return await rank_texts(services, request, decode(request.body, types.TeiRerankRequest))


async def rank_texts(services: Services, request: Request, body: types.TeiRerankRequest) -> Response:
    """Rank the texts of a body."""
    started = time.perf_counter()
    if not body.texts:
        raise empty("texts")
    name = model_of(services, request, ROLE, MULTI_VECTOR, fits=can_rerank)
    done = await rank_documents(
        services,
        request,
        name,
        body.query,
        body.texts,
        truncate=body.truncate is True,
        cut_side=cut_side_of(body),
        raw=True,
        param="texts",
    )
    scores = done.scores if body.raw_scores else await sigmoid_of(services, name, done.scores)
    ranks: list[dict[str, object]] = [{"index": int(place), "score": scores[place]} for place in done.order]
    if body.return_text:
        for one, place in zip(ranks, done.order, strict=True):
            one["text"] = body.texts[place]
    chars = len(body.query) * len(body.texts) + sum(map(len, body.texts))
    return measured(mark_truncated(array_answer(ranks), done), started, chars, done.items)


def predict(services: Services, request: Request) -> Work[Scored] | Awaitable[Response]:
    """Classify texts or pairs of texts."""
    return classify(services, request, decode(request.body, types.TeiPredictRequest))


def classify(services: Services, request: Request, body: types.TeiPredictRequest) -> Work[Scored] | Awaitable[Response]:
    """Classify the inputs of a body."""
    started = time.perf_counter()
    rows, is_batch = _rows_of(body.inputs)
    check_count(len(rows), services.limits.max_items, "inputs", "inputs")
    name, group = _classifier(services, request), cache_group(services, request)
    singles = [place for place, row in enumerate(rows) if len(row) == 1]
    pairs = [place for place, row in enumerate(rows) if len(row) == _MOST_OF_A_PAIR]
    chars = sum(len(text) for row in rows for text in row)
    # Hugging Face's inference API has a list for each input even if there is only one; its clients send `parameters`.
    is_nested = is_batch or body.parameters is not None

    def respond(results: Sequence[list[dict[str, object]]], items: Sequence[TokenizedText]) -> Response:
        answer = mark_cut(array_answer(results if is_nested else results[0]), items)
        return measured(answer, started, chars, items)

    def respond_alone(done: Scored) -> Response:
        return respond(_predictions(done, body), done.items)

    def texts(places: Sequence[int], column: int) -> Texts:
        return Texts(
            texts=[rows[place][column] for place in places],
            truncate=body.truncate is True,
            cut_side=cut_side_of(body),
            param="inputs",
            places=places,
            is_list=is_batch,
            cache_group=group,
        )

    of_texts = ScoreTexts(name, texts(singles, 0))
    of_pairs = ScorePairs(name, Pairs(firsts=texts(pairs, 0), seconds=texts(pairs, 1)))
    if not pairs:
        return Work(of_texts, respond_alone)
    if not singles:
        return Work(of_pairs, respond_alone)

    return _classify_both(services, body, rows, (of_texts, singles), (of_pairs, pairs), respond)


async def _classify_both(
    services: Services,
    body: types.TeiPredictRequest,
    rows: Sequence[Sequence[str]],
    of_texts: tuple[ScoreTexts, Sequence[int]],
    of_pairs: tuple[ScorePairs, Sequence[int]],
    respond: Respond,
) -> Response:
    """Classify a batch of texts and pairs; ``of_texts`` and ``of_pairs`` are a task and the places of its inputs."""
    done = await asyncio.gather(
        services.pipeline.run(of_texts[0]), services.pipeline.run(of_pairs[0]), return_exceptions=True
    )
    results: list[list[dict[str, object]]] = [[]] * len(rows)
    items: list[TokenizedText] = []
    for scored, places in zip(done, (of_texts[1], of_pairs[1]), strict=True):
        if isinstance(scored, BaseException):
            raise scored
        items += scored.items
        for place, result in zip(places, _predictions(scored, body), strict=True):
            results[place] = result
    return respond(results, items)


def _predictions(done: Scored, body: types.TeiPredictRequest) -> list[list[dict[str, object]]]:
    """Return for each row its labels by falling score; labels with equal scores keep their order."""
    options = body.parameters or types.PredictParameters()
    scores, labels = _scores(done, body.raw_scores, options.function_to_apply), done.manifest.labels
    orders = np.argsort(-scores, axis=1, kind="stable")[:, : options.top_k]
    return [
        [{"score": row[place], "label": labels[place]} for place in order]
        for row, order in zip(scores, orders, strict=True)
    ]


def _scores(done: Scored, raw: bool, function: str | None) -> Rows:
    if function == "softmax":
        return softmax(done.logits)
    if function == "sigmoid":
        return sigmoid(done.logits)
    if raw or function == "none":
        return done.logits
    return sigmoid(done.logits) if done.logits.shape[1] == 1 else probabilities_of(done)


def _rows_of(given: str | list[str | list[str]]) -> tuple[list[list[str]], bool]:
    """Return the texts of each input, one or two, and whether the request is a batch."""
    if isinstance(given, str):
        return [[given]], False
    if not given:
        raise empty("inputs")
    if isinstance(given[0], str):
        given = [given]  # type: ignore[list-item]
        is_batch = False
    else:
        is_batch = True
    for place, row in enumerate(given):
        wrong = not isinstance(row, list) or not 1 <= len(row) <= _MOST_OF_A_PAIR
        if wrong or not all(isinstance(text, str) for text in row):
            raise InvalidRequestError(
                "inputs must be a text, a pair [text, text], or a list whose items are [text] or [text, text].",
                param=f"inputs[{place}]" if is_batch else "inputs",
            )
    return given, is_batch  # type: ignore[return-value]


def _classifier(services: Services, request: Request) -> ModelName:
    """Return the default model with several labels, or with one, which is usually a reranker."""
    try:
        return model_of(services, request, ROLE, fits=lambda model: not can_rerank(model))
    except (ModelNotLoadedError, ModelLoadingError):
        return model_of(services, request, ROLE)
