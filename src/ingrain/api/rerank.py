"""Bodies of the routes that score pairs of texts."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ingrain.api.fields import LibraryField, Name, Pretrained, PromptName, TokenCounts, Truncate
from ingrain.api.types import Answer, Counts, Cuts, Request

TopN = Annotated[
    Annotated[int, Meta(ge=1)] | None, Meta(description="Number of results, the best ones; all if not given.")
]
RawScores = Annotated[
    bool | None, Meta(description="True for the logits, before the model's activation function (default false).")
]
Documents = Annotated[
    list[str | dict[str, Any]],
    Meta(min_length=1, description="The documents: texts, or objects with `text` and any other fields."),
]
PairPrompt = Annotated[
    str | None,
    Meta(
        description="Text to put before the query, or the instruction of a model with a chat template; empty to "
        "disable the model's default prompt."
    ),
]
Pairs = Annotated[
    list[tuple[str, str]], Meta(min_length=1, description="Pairs of texts; a query comes before its document.")
]


class RerankRequest(Request, frozen=True, kw_only=True):
    """Documents to rank by their relevance to a query."""

    name: Name
    query: str
    documents: Documents
    top_n: TopN = None
    return_documents: Annotated[
        bool | None, Meta(description="True to add each document, as it was sent, to its result (default false).")
    ] = None
    raw_scores: RawScores = None
    prompt: PairPrompt = None
    prompt_name: PromptName = None
    truncate: Truncate = None
    token_counts: TokenCounts = None
    library: LibraryField = None
    pretrained: Pretrained = None


class ScoreRequest(Request, frozen=True, kw_only=True):
    """Pairs of texts to score."""

    name: Name
    pairs: Pairs
    raw_scores: RawScores = None
    prompt: PairPrompt = None
    prompt_name: PromptName = None
    truncate: Truncate = None
    token_counts: TokenCounts = None
    library: LibraryField = None
    pretrained: Pretrained = None


class RankedDocument(Answer, frozen=True, kw_only=True):
    """One document's place in the request and its score."""

    index: int
    score: float
    document: str | dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class RerankAnswer(Answer, frozen=True, kw_only=True):
    """Documents by falling score; ``tokenCounts`` and ``truncated`` are in the order of the request."""

    results: list[RankedDocument]
    token_counts: Counts | msgspec.UnsetType = msgspec.UNSET
    truncated: Cuts | msgspec.UnsetType = msgspec.UNSET
    processing_time_ms: float


class ScoreAnswer(Answer, frozen=True, kw_only=True):
    """Scores in the order of the pairs: a number, or a list if the model gives several, in the order of ``labels``."""

    scores: list[float | list[float]]
    labels: list[str] | msgspec.UnsetType = msgspec.UNSET
    token_counts: Counts | msgspec.UnsetType = msgspec.UNSET
    truncated: Cuts | msgspec.UnsetType = msgspec.UNSET
    processing_time_ms: float
