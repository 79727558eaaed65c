"""What clients ask of models of six kinds: each kind's route, its items, and the numbers in its answers."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

from chaos.load import Question, picture
from search_models import KINDS
from texts import articles, sentences

_ITEMS, _QUESTIONS, _MOST_ITEMS = 16, 32, 6
_QUERY = "Where did the fires burn, and who fought them?"
_SPARSE_WIDTH = 30_522

Json = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """How a kind of models is asked.

    Attributes:
        route: Path of the route.
        field: Field of the items.
        rows: Returns the numbers of each item of an answer, in the order of the items.
        fields: Further fields of a body.
    """

    route: str
    field: str
    rows: Callable[[Json], Sequence[np.ndarray]]
    fields: Json

    def read(self, answer: Json) -> np.ndarray:
        """Return all numbers of an answer, items one after the other, float64 ``[N]``."""
        return np.concatenate([np.ravel(row) for row in self.rows(answer)])


def _embeddings(answer: Json) -> list[np.ndarray]:
    return [np.array(row, dtype=np.float64) for row in answer["embeddings"]]


def _probabilities(answer: Json) -> list[np.ndarray]:
    return [np.array(row) for row in answer["probabilities"]]


def _sparse(answer: Json) -> list[np.ndarray]:
    rows = np.zeros((len(answer["embeddings"]), _SPARSE_WIDTH))
    for row, vector in zip(rows, answer["embeddings"], strict=True):
        row[vector["indices"]] = vector["values"]
    return list(rows)


def _ranked(answer: Json) -> list[np.ndarray]:
    scores = {one["index"]: one["score"] for one in answer["results"]}
    return [np.array([scores[place]]) for place in range(len(scores))]


def _labels(answer: Json) -> list[np.ndarray]:
    return [np.array([one["score"] for one in sorted(row, key=lambda one: one["label"])]) for row in answer["results"]]


ASKED = {
    "dense": Kind("/embed_text", "text", _embeddings, {}),
    "picture": Kind("/classify_image", "image", _probabilities, {}),
    "sparse": Kind("/embed_sparse", "text", _sparse, {}),
    "multi-vector": Kind("/embed_multi_vector", "text", _embeddings, {}),
    "reranker": Kind("/rerank", "documents", _ranked, {"query": _QUERY}),
    "classifier": Kind("/classify_text", "text", _labels, {}),
}


async def make_questions_of_kinds(address: str, rng: random.Random) -> list[Question]:
    """Make questions of one and of several items to each kind, with the numbers that each item has alone."""
    questions = []
    texts = [" ".join(text.split()[: rng.randint(1, 90)]) for text in rng.sample(articles() + sentences(), _ITEMS)]
    async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=60) as client:
        for name, kind in ASKED.items():
            items = [picture(rng) for _ in texts] if kind.field == "image" else texts
            rows = [await _alone(client, KINDS[name], kind, item) for item in items]
            for number in range(_QUESTIONS):
                places = rng.sample(range(_ITEMS), rng.randint(2, _MOST_ITEMS) if number % 2 else 1)
                body = {"name": KINDS[name], kind.field: [items[place] for place in places], **kind.fields}
                numbers = np.concatenate([rows[place] for place in places])
                questions.append(Question(kind.route, body, numbers, kind.read))
    return questions


async def _alone(client: httpx.AsyncClient, model: str, kind: Kind, item: str) -> np.ndarray:
    answer = await client.post(kind.route, json={"name": model, kind.field: [item], **kind.fields})
    answer.raise_for_status()
    return kind.read(answer.json())
