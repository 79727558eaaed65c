"""Bodies of the routes that classify texts."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from ingrain.api.fields import LibraryField, Name, Pretrained, Prompt, PromptName, Texts, TokenCounts, Truncate
from ingrain.api.types import Answer, Counts, Cuts, Request

TopK = Annotated[
    Annotated[int, Meta(ge=1)] | None,
    Meta(description="Number of labels for each text, the best ones; all if not given."),
]


class ClassifyTextRequest(Request, frozen=True, kw_only=True):
    """Texts to classify with the model's own labels."""

    name: Name
    text: Texts
    text_pair: Annotated[
        Texts | None,
        Meta(description="Second text of each pair, for models of pairs (natural language inference): as many texts."),
    ] = None
    top_k: TopK = None
    raw_scores: Annotated[
        bool | None, Meta(description="True for logits instead of probabilities (default false).")
    ] = None
    prompt: Prompt = None
    prompt_name: PromptName = None
    truncate: Truncate = None
    token_counts: TokenCounts = None
    library: LibraryField = None
    pretrained: Pretrained = None


class ClassifyTextZeroShotRequest(Request, frozen=True, kw_only=True):
    """Texts to classify with the labels of the request."""

    name: Name
    text: Texts
    labels: Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(min_length=1, description="Candidate labels.")]
    hypothesis_template: Annotated[
        str | None,
        Meta(description="Sentence with `{}` for the label (default `This example is {}.`)."),
    ] = None
    multi_label: Annotated[
        bool | None,
        Meta(description="True if several labels can be true at a time, each with a probability of its own."),
    ] = None
    top_k: TopK = None
    truncate: Truncate = None
    library: LibraryField = None
    pretrained: Pretrained = None


class LabelScore(Answer, frozen=True, kw_only=True):
    """A label with its probability, or its logit."""

    label: str
    score: float


class ClassifyTextAnswer(Answer, frozen=True, kw_only=True):
    """For each text its labels by falling score."""

    results: list[list[LabelScore]]
    token_counts: Counts | msgspec.UnsetType = msgspec.UNSET
    truncated: Cuts | msgspec.UnsetType = msgspec.UNSET
    processing_time_ms: float
