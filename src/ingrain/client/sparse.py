"""Results of the client's methods for sparse vectors, and functions that make the requests and read the responses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ingrain.api.embed_sparse import SparseEmbeddingsAnswer
from ingrain.api.types import Answer
from ingrain.client.answers import Part, Rows, reader
from ingrain.client.call import Reply
from ingrain.client.failures import unexpected
from ingrain.client.items import Items
from ingrain.client.requests import ModelName
from ingrain.client.rows import Calls, RowOptions
from ingrain.client.texts import text_calls


class SparseVector(Answer, frozen=True, kw_only=True, eq=False):
    """The entries of a sparse vector that are not zero, ascending by index.

    Attributes:
        indices: Dimensions, ``[n]``; an array of int32 with ``return_numpy``.
        values: Weights, ``[n]``; an array of float32 with ``return_numpy``.
        tokens: Token of each entry, if requested.
    """

    indices: list[int] | NDArray[np.int32]
    values: list[float] | NDArray[np.float32]
    tokens: list[str] | None = None


class SparseEmbeddings(Answer, frozen=True, kw_only=True, eq=False):
    """Sparse vectors in the order of the texts.

    Attributes:
        embeddings: A vector for each text.
        processing_time_ms: The server's time; for a call of several requests, the client's time for all of them.
        token_counts: Tokens of each text, prompt and special tokens included, if requested.
        truncated: True for each text that was truncated, if requested.
        positions: With ``skip_none``, the index of each vector's text in the caller's list.
    """

    embeddings: list[SparseVector]
    processing_time_ms: float
    token_counts: list[int] | None = None
    truncated: list[bool] | None = None
    positions: list[int] | None = None


def sparse_vector(
    indices: list[int], values: list[float], options: RowOptions, tokens: list[str] | None = None
) -> SparseVector:
    """Return entries as a vector, of arrays or of lists."""
    return SparseVector(
        indices=np.array(indices, np.int32) if options.as_numpy else indices,
        values=np.array(values, np.float32) if options.as_numpy else values,
        tokens=tokens,
    )


def sparse_calls(
    model: ModelName, texts: Items[Any], fields: Mapping[str, object], options: RowOptions, most: int
) -> Calls[Part]:
    """Yield the requests for texts, at most ``most`` in each."""

    def read_for(places: Sequence[int]) -> Callable[[Reply], Part]:
        return lambda reply: _read(reply, places, options)

    return text_calls("embed_sparse", model, texts, fields, options, most, read_for)


def sparse_embeddings_of(whole: Part) -> SparseEmbeddings:
    """Return rows as sparse vectors."""
    return SparseEmbeddings(
        embeddings=cast("list[SparseVector]", list(whole.rows)),
        processing_time_ms=whole.milliseconds,
        token_counts=whole.token_counts,
        truncated=whole.truncated,
        positions=whole.places,
    )


_answer = reader(SparseEmbeddingsAnswer)


def _read(reply: Reply, places: Sequence[int], options: RowOptions) -> Part:
    answer = _answer(reply)
    if len(answer.embeddings) != len(places):
        raise unexpected(f"The answer has {len(answer.embeddings)} vectors to {len(places)} texts.")
    rows = [sparse_vector(one.indices, one.values, options, one.tokens or None) for one in answer.embeddings]
    return Part(
        cast("Rows", rows),
        answer.processing_time_ms,
        answer.token_counts or None,
        answer.truncated or None,
        list(places) if options.skip_none else None,
    )
