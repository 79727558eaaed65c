"""Routes that classify texts."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from ingrain.api.classify_text import ClassifyTextAnswer, ClassifyTextRequest, ClassifyTextZeroShotRequest
from ingrain.errors import InvalidRequestError
from ingrain.pipeline.task import Rows
from ingrain.server.dialects.native.fields import list_of, model_name, prompt_of
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.answers import array_answer, counts_of, mark_truncated, milliseconds_since
from ingrain.server.plane.bodies import decode
from ingrain.server.plane.cache_control import cache_group
from ingrain.server.plane.route import Work, inference_route
from ingrain.server.plane.services import Services
from ingrain.tasks.classify_text import DEFAULT_HYPOTHESIS, classify_zero_shot, probabilities_of
from ingrain.tasks.pairs import Pairs
from ingrain.tasks.score import Scored, ScorePairs, ScoreTexts
from ingrain.tasks.texts import Texts


def _classify_text(services: Services, request: Request) -> Work[Scored]:
    body = decode(request.body, ClassifyTextRequest)
    started = time.perf_counter()

    def respond(done: Scored) -> Response:
        rows = done.logits if body.raw_scores else probabilities_of(done)
        answer: dict[str, object] = {"results": _best(rows, done.manifest.labels, body.top_k)}
        if body.token_counts:
            answer |= counts_of(done)
        return mark_truncated(array_answer(answer | {"processingTimeMs": milliseconds_since(started)}), done)

    texts = Texts(
        texts=list_of(body.text),
        prompt=prompt_of(body),
        truncate=body.truncate is not False,
        is_list=not isinstance(body.text, str),
        cache_group=cache_group(services, request),
    )
    if body.text_pair is None:
        return Work(ScoreTexts(model_name(body), texts), respond)
    seconds = list_of(body.text_pair)
    if len(seconds) != len(texts):
        raise InvalidRequestError(
            f"textPair has {len(seconds)} texts, but text has {len(texts)}; send one for each.", param="textPair"
        )
    pairs = Pairs(firsts=texts, seconds=Texts(texts=seconds, param="textPair", is_list=texts.is_list))
    return Work(ScorePairs(model_name(body), pairs), respond)


async def _classify_text_zero_shot(services: Services, request: Request) -> Response:
    body = decode(request.body, ClassifyTextZeroShotRequest)
    started = time.perf_counter()
    texts = Texts(
        texts=list_of(body.text),
        truncate=body.truncate is not False,
        is_list=not isinstance(body.text, str),
        cache_group=cache_group(services, request),
    )
    rows, done = await classify_zero_shot(
        services.pipeline,
        model_name(body),
        texts,
        body.labels,
        template=body.hypothesis_template or DEFAULT_HYPOTHESIS,
        multi_label=body.multi_label is True,
    )
    answer = {"results": _best(rows, body.labels, body.top_k), "processingTimeMs": milliseconds_since(started)}
    return mark_truncated(array_answer(answer), done)


def _best(rows: Rows, labels: Sequence[str], top_k: int | None) -> list[list[dict[str, object]]]:
    """Return for each row its labels by falling score; labels with equal scores keep their order."""
    orders = np.argsort(-rows, axis=1, kind="stable")[:, :top_k]
    return [
        [{"label": labels[place], "score": row[place]} for place in order]
        for row, order in zip(rows, orders, strict=True)
    ]


ROUTES = (
    inference_route(
        "classify_text",
        _classify_text,
        "Classify texts, or pairs of texts, with a model's own labels.",
        ClassifyTextRequest,
        ClassifyTextAnswer,
        notes="X-Truncated-Texts is the number of truncated texts, if there are any.",
    ),
    inference_route(
        "classify_text_zero_shot",
        _classify_text_zero_shot,
        "Classify texts with labels from the request, by a model of natural language inference.",
        ClassifyTextZeroShotRequest,
        ClassifyTextAnswer,
        notes="X-Truncated-Texts is the number of truncated pairs of text and label, if there are any.",
    ),
)
