"""Request and response bodies of Infinity's dialect. Unknown fields are ignored."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, UnsetType

from ingrain.api import fields

_Model = Annotated[
    fields.Name, Meta(description="Name of a loaded model; `default/not-specified` for the default or only one.")
]
NOT_SPECIFIED = "default/not-specified"
"""Infinity's name of a model that its client does not name."""


class InfinityRerankRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Documents to rank by their relevance to a query."""

    query: str
    documents: Annotated[list[str], Meta(min_length=1)]
    return_documents: Annotated[bool, Meta(description="True to add each document to its result.")] = False
    raw_scores: Annotated[bool, Meta(description="True for the model's raw scores instead of their sigmoid.")] = False
    model: _Model = NOT_SPECIFIED
    top_n: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="Number of results, the best ones; all if not given.")
    ] = None


class InfinityUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Number of tokens."""

    prompt_tokens: int
    total_tokens: int


class InfinityRanked(msgspec.Struct, frozen=True, kw_only=True):
    """A document's place in the request and its score."""

    relevance_score: float
    index: int
    document: Annotated[str, Meta(description="The document, if requested.")] | UnsetType = msgspec.UNSET


class InfinityRerankAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The documents by falling score."""

    object: Literal["rerank"]
    results: list[InfinityRanked]
    model: str
    usage: InfinityUsage
    id: str
    created: int


class InfinityClassifyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Texts to classify."""

    input: Annotated[list[str], Meta(min_length=1)]
    model: _Model = NOT_SPECIFIED
    raw_scores: Annotated[bool, Meta(description="True for logits instead of probabilities.")] = False


class InfinityLabel(msgspec.Struct, frozen=True, kw_only=True):
    """A label and its score."""

    label: str
    score: float


class InfinityClassifyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """For each text the labels by falling score."""

    object: Literal["classify"]
    data: list[list[InfinityLabel]]
    model: str
    usage: InfinityUsage
    id: str
    created: int


class InfinityStats(msgspec.Struct, frozen=True, kw_only=True):
    """The queue of a model; only the size of a batch is known here."""

    queue_fraction: float
    queue_absolute: int
    results_pending: int
    batch_size: int


class InfinityModel(msgspec.Struct, frozen=True, kw_only=True):
    """A loaded model."""

    id: str
    stats: InfinityStats
    object: Literal["model"]
    owned_by: Annotated[Literal["infinity"], Meta(description="Infinity's client takes no other value.")]
    created: int
    backend: str
    capabilities: list[Literal["embed", "image_embed", "rerank", "classify"]]


class InfinityModelsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The loaded models."""

    data: list[InfinityModel]
    object: Literal["list"]


class NumberedErrorDetail(msgspec.Struct, frozen=True, kw_only=True):
    """Details of an error."""

    message: str
    type: str
    param: str | None
    code: Annotated[int, Meta(description="The HTTP status.")]


class NumberedErrorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Body of an error response of vLLM."""

    error: NumberedErrorDetail


class InfinityFault(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a request, and where."""

    type: str
    loc: Annotated[list[str | int], Meta(description="`body`, then the path of the field.")]
    msg: str


class InfinityErrorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Body of an error response; ``detail`` is there if the status is 422, for clients that read no other field."""

    error: NumberedErrorDetail
    detail: list[InfinityFault] | UnsetType = msgspec.UNSET
