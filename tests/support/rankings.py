"""Ranks news by a server and by the source library, and compares the orders; tied documents may come in any order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
from numpy.typing import NDArray

from texts import articles, sentences_of
from trained_reranker import HELD_OUT

ROUNDING = 2e-6
"""Documents of one query whose scores differ by less are tied: float32 does not tell which is the better one."""

Query = tuple[str, list[str]]
"""A query and its documents."""
Ranking = list[tuple[int, float]]
"""Places of the documents in their query, and their scores, best first."""


@dataclass(frozen=True)
class Comparison:
    """What the served rankings of several queries are beside the library's.

    Attributes:
        same: Number of queries whose documents come in the very same order.
        tied: Number of the others, in which only tied documents change places.
        wrong: Number of those in which others do, too.
        difference: Largest difference of a score.
        closest: Smallest difference of two documents' scores in a row that are not equal, by the library.
    """

    same: int
    tied: int
    wrong: int
    difference: float
    closest: float


def news_queries(count: int, documents: int) -> list[Query]:
    """Return queries with documents: sentences and the beginnings of news articles that no reranker was trained on."""
    held_out = articles()[-HELD_OUT:]
    queries = [sentences_of(article)[-1] for article in held_out][:count]
    passages = [" ".join(article.split()[: 10 + 7 * (place % 12)]) for place, article in enumerate(held_out)]
    return [
        (query, [passages[(number + place) % HELD_OUT] for place in range(documents)])
        for number, query in enumerate(queries)
    ]


def rank_by_library(model: Path, queries: Sequence[Query]) -> list[Ranking]:
    """Rank with ``CrossEncoder.rank``; needs torch."""
    from sentence_transformers import CrossEncoder

    encoder = CrossEncoder(str(model), device="cpu", local_files_only=True)
    rankings = [encoder.rank(query, documents) for query, documents in queries]
    return [[(int(one["corpus_id"]), float(one["score"])) for one in ranking] for ranking in rankings]


def score_by_library(model: Path, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
    """Score pairs with ``CrossEncoder.predict``, ``float32 [N]``."""
    from sentence_transformers import CrossEncoder

    encoder = CrossEncoder(str(model), device="cpu", local_files_only=True)
    return np.asarray(encoder.predict(pairs, show_progress_bar=False))


def rank_by_server(url: str, model: str, queries: Sequence[Query]) -> list[Ranking]:
    """Rank with ``POST /rerank``."""
    rankings = []
    with httpx.Client(base_url=url, trust_env=False, timeout=300) as client:
        for query, documents in queries:
            answer = client.post("/rerank", json={"name": model, "query": query, "documents": documents})
            assert answer.status_code == 200, answer.text
            rankings.append([(one["index"], one["score"]) for one in answer.json()["results"]])
    return rankings


def compare(served: Sequence[Ranking], wanted: Sequence[Ranking]) -> Comparison:
    """Compare rankings of the same queries."""
    kinds = [_kind(*pair) for pair in zip(served, wanted, strict=True)]
    pairs = [(_scores(ours), _scores(theirs)) for ours, theirs in zip(served, wanted, strict=True)]
    gaps = np.concatenate([-np.diff(np.sort(theirs)[::-1]) for _, theirs in pairs])
    return Comparison(
        **{kind: kinds.count(kind) for kind in ("same", "tied", "wrong")},
        difference=max(float(np.abs(ours - theirs).max()) for ours, theirs in pairs),
        closest=float(gaps[gaps > 0].min()),
    )


def _kind(served: Ranking, wanted: Ranking) -> str:
    ours, theirs = [place for place, _ in served], [place for place, _ in wanted]
    if ours == theirs:
        return "same"
    if sorted(ours) != sorted(theirs):
        return "wrong"
    # In the served order no document may stand behind one that is worse by more than the rounding.
    scores = _scores(wanted)[ours]
    return "tied" if (scores - np.minimum.accumulate(scores)).max() < ROUNDING else "wrong"


def _scores(ranking: Ranking) -> NDArray[np.float64]:
    """Return the scores in the order of the documents."""
    return np.array([score for _, score in sorted(ranking)])
