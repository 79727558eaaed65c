"""The answer of a route that returns several outputs of a text."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from ingrain.api.embed_sparse import SparseEmbedding
from ingrain.api.token_vectors import MultiVectors, VectorCounts
from ingrain.api.types import Answer, Counts, Cuts, Vectors


class EmbedTextAnswer(Answer, frozen=True, kw_only=True):
    """What was asked for of each text, in the order of the texts: ``embeddings`` unless the request has ``outputs``."""

    embeddings: Vectors | msgspec.UnsetType = msgspec.UNSET
    sparse_embeddings: (
        Annotated[list[SparseEmbedding], Meta(description="A sparse vector for each text; if requested.")]
        | msgspec.UnsetType
    ) = msgspec.UNSET
    multi_vector_embeddings: MultiVectors | msgspec.UnsetType = msgspec.UNSET
    vector_counts: VectorCounts | msgspec.UnsetType = msgspec.UNSET
    token_counts: Counts | msgspec.UnsetType = msgspec.UNSET
    truncated: Cuts | msgspec.UnsetType = msgspec.UNSET
    processing_time_ms: float
