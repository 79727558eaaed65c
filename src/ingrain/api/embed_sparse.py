"""Bodies of the route for sparse vectors."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from ingrain.api.fields import (
    InputType,
    LibraryField,
    Name,
    Pretrained,
    Prompt,
    PromptName,
    Texts,
    TokenCounts,
    Truncate,
)
from ingrain.api.types import Answer, Counts, Cuts, Request


class EmbedSparseRequest(Request, frozen=True, kw_only=True):
    """Texts to embed into sparse vectors."""

    name: Name
    text: Texts
    input_type: InputType = None
    top_k: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="Number of entries of largest weight to keep of each vector; all if not given."),
    ] = None
    min_weight: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(description="Least weight of an entry; all that are not zero if not given."),
    ] = None
    tokens: Annotated[
        bool | None, Meta(description="True to add the token of each entry, if the model's dimensions are tokens.")
    ] = None
    prompt: Prompt = None
    prompt_name: PromptName = None
    truncate: Truncate = None
    token_counts: TokenCounts = None
    library: LibraryField = None
    pretrained: Pretrained = None


class SparseEmbedding(Answer, frozen=True, kw_only=True):
    """The entries of one vector that are not zero, ascending by index; ``tokens`` if requested."""

    indices: list[int]
    values: list[float]
    tokens: list[str] | msgspec.UnsetType = msgspec.UNSET


class SparseEmbeddingsAnswer(Answer, frozen=True, kw_only=True):
    """Sparse vectors in the order of the texts."""

    embeddings: list[SparseEmbedding]
    token_counts: Counts | msgspec.UnsetType = msgspec.UNSET
    truncated: Cuts | msgspec.UnsetType = msgspec.UNSET
    processing_time_ms: float
