"""Ranks documents by their relevance to a query."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from ingrain.errors import ModalityError
from ingrain.models.loaded import LoadedModel
from ingrain.pipeline.pipeline import Pipeline
from ingrain.pipeline.task import ModelName, Rows
from ingrain.postprocess.probabilities import activate
from ingrain.preprocess.tokenized import TokenizedText, cut_tokens_of
from ingrain.tasks.late_interaction import score_by_late_interaction
from ingrain.tasks.pairs import Pairs, check_pairs
from ingrain.tasks.score import ROLE, ScorePairs
from ingrain.tasks.token_vectors import MULTI_VECTOR
from ingrain.vocabulary import Role


class Ranked(msgspec.Struct, frozen=True):
    """The scores of documents.

    Attributes:
        scores: One for each document, in the order of the request, float32 ``[N]``.
        items: The tokenized pairs of query and document, or documents.
    """

    scores: Rows
    items: Sequence[TokenizedText]

    @property
    def order(self) -> NDArray[np.intp]:
        """Indices of the documents by falling score; documents with equal scores keep their order."""
        return np.argsort(-self.scores, kind="stable")

    @property
    def truncated(self) -> int:
        """Number of truncated documents."""
        return sum(cut > 0 for cut in cut_tokens_of(self.items))


Ranker = Callable[[Pipeline, ModelName, Pairs, bool], Awaitable[Ranked]]
"""Scores documents. Arguments: pipeline, model, the query with each document, whether to return raw scores."""


def can_rerank(model: LoadedModel) -> bool:
    """Return whether ``rank`` accepts a model."""
    return "rerank" in model.manifest.tasks


async def rank(pipeline: Pipeline, name: ModelName, pairs: Pairs, *, raw: bool = False) -> Ranked:
    """Score documents with any model that can rerank.

    Args:
        pipeline: Runs the tasks.
        name: The requested model.
        pairs: The query, which all pairs share, and the documents.
        raw: True for the scores before the model's activation function.

    Raises:
        ModalityError: The model cannot rerank.
    """
    check_pairs(pipeline.limits, pairs)
    model = await pipeline.model(name)
    found = next((_RANKERS[role] for role in model.manifest.roles if role in _RANKERS), None)
    if found is None:
        raise ModalityError(f"Model {name.name!r} cannot rerank. It {model.manifest.does}.", param="name")
    return await found(pipeline, name, pairs, raw)


async def _rank_by_logits(pipeline: Pipeline, name: ModelName, pairs: Pairs, raw: bool) -> Ranked:  # a Ranker
    """Score documents with a cross-encoder, as ``CrossEncoder.rank`` does."""
    labels = (await pipeline.model(name)).manifest.labels
    if len(labels) > 1:
        raise ModalityError(
            f"Model {name.name!r} gives {len(labels)} scores for a pair, and reranking needs one. POST /score returns "
            "them all; POST /classify_text names them.",
            param="name",
        )
    done = await pipeline.run(ScorePairs(name, pairs))
    scores = done.logits if raw else activate(done.logits, done.scoring.activation)
    return Ranked(scores[:, 0], done.items)


async def _rank_by_late_interaction(pipeline: Pipeline, name: ModelName, pairs: Pairs, raw: bool) -> Ranked:
    """Score documents with a multi-vector model, whose scores have no activation function."""
    del raw
    scores, items = await score_by_late_interaction(pipeline, name, pairs.firsts, pairs.seconds)
    return Ranked(scores, items)


_RANKERS: dict[Role, Ranker] = {ROLE: _rank_by_logits, MULTI_VECTOR: _rank_by_late_interaction}
"""How to rank with a model, by the role of its graph."""
