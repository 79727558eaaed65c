"""Builds the description of a tower that gives a vector for each token of a text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from ingrain.export.families.protocol import Candidate, Preparation, Tower
from ingrain.export.families.sentence_transformers.source import with_attention
from ingrain.export.families.towers import transformer_recipes
from ingrain.export.proof.compare import Count
from ingrain.export.proof.token_references import TokenReferences
from ingrain.vocabulary import Role

Asked = Callable[[Preparation, Sequence[str], float, bool, Count], TokenReferences]
"""Computes the source's vectors for a proof; see ``Tower.ask``."""


def token_candidates(model: Any, build: Callable[[Any], Any]) -> list[Candidate]:
    """Return the ways to export the graph that ``build`` makes of a loaded model."""
    return [
        Candidate(recipe=recipe, build=partial(with_attention, recipe, build))
        for recipe in transformer_recipes(model[0].model)
    ]


def token_tower(*, role: Role, title: str, inputs: Sequence[str], candidates: Iterable[Candidate], ask: Asked) -> Tower:
    """Return the tower of a source that embeds tokens."""
    return Tower(
        role=role,
        label="text",
        title=title,
        inputs=tuple(inputs),
        output="token_embeddings",
        candidates=tuple(candidates),
        ask=ask,
        int8=True,
    )
