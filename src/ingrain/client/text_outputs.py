"""Results of a call for several outputs of each text, and functions that make the requests and read the responses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import msgspec
import numpy as np

from ingrain.api.types import Answer
from ingrain.client.answers import Embeddings, Part, reader
from ingrain.client.call import Reply
from ingrain.client.failures import unexpected
from ingrain.client.items import Items
from ingrain.client.requests import ModelName
from ingrain.client.rows import Calls, RowOptions
from ingrain.client.sparse import SparseVector, sparse_vector
from ingrain.client.texts import MOST_CHARS, MOST_TOKEN_CHARS, text_calls
from ingrain.client.token_vectors import Matrices
from ingrain.vocabulary import Output


class TextEmbeddings(Embeddings, frozen=True, kw_only=True, eq=False):
    """What a model gives of each text, in the order of the texts.

    Attributes:
        embeddings: Dense vectors, ``[N, D]``; empty if ``outputs`` leaves them out.
        sparse_embeddings: A sparse vector for each text, if requested.
        multi_vector_embeddings: For each text its vectors, ``[t, D]``, if requested.
    """

    sparse_embeddings: list[SparseVector] | None = None
    multi_vector_embeddings: Matrices | None = None


class TextOutput(msgspec.Struct, frozen=True, eq=False):
    """The outputs of one text; None for those that were not requested."""

    dense: Any = None
    sparse: SparseVector | None = None
    multi_vector: Any = None


def output_calls(
    model: ModelName,
    texts: Items[Any],
    fields: Mapping[str, object],
    options: RowOptions,
    most: int,
    outputs: Sequence[Output],
) -> Calls[Part]:
    """Yield the requests for several outputs of texts, at most ``most`` texts in each."""

    def read_for(places: Sequence[int]) -> Callable[[Reply], Part]:
        return lambda reply: _read(reply, places, options)

    heaviest = MOST_TOKEN_CHARS if "multiVector" in outputs else MOST_CHARS
    given = {**fields, "outputs": list(outputs)}
    return text_calls("embed_text", model, texts, given, options, most, read_for, heaviest=heaviest)


def text_embeddings_of(whole: Part, outputs: Sequence[Output] = ()) -> TextEmbeddings:
    """Return rows as dense vectors, or as what they have if they are ``TextOutput``.

    Args:
        whole: The rows.
        outputs: The requested outputs, for a result without rows.
    """
    facts: dict[str, Any] = {
        "processing_time_ms": whole.milliseconds,
        "token_counts": whole.token_counts,
        "truncated": whole.truncated,
        "positions": whole.places,
    }
    rows: Any = whole.rows
    if not len(rows):
        none_of: dict[Output, Any] = {output: [] for output in outputs}
        return TextEmbeddings(
            embeddings=rows,
            sparse_embeddings=none_of.get("sparse"),
            multi_vector_embeddings=none_of.get("multiVector"),
            **facts,
        )
    if not isinstance(rows[0], TextOutput):
        return TextEmbeddings(embeddings=rows, **facts)
    first: TextOutput = rows[0]
    dense = [row.dense for row in rows] if first.dense is not None else []
    return TextEmbeddings(
        embeddings=np.stack(dense) if dense and isinstance(dense[0], np.ndarray) else dense,
        sparse_embeddings=[row.sparse for row in rows] if first.sparse is not None else None,
        multi_vector_embeddings=[row.multi_vector for row in rows] if first.multi_vector is not None else None,
        **facts,
    )


class _SparseOnTheWire(Answer, frozen=True, kw_only=True):
    indices: list[int]
    values: list[float]


class _OnTheWire(Answer, frozen=True, kw_only=True):
    processing_time_ms: float
    embeddings: list[list[int | float]] | None = None
    sparse_embeddings: list[_SparseOnTheWire] | None = None
    multi_vector_embeddings: list[list[list[int | float]]] | None = None
    token_counts: list[int] | None = None
    truncated: list[bool] | None = None


_answer = reader(_OnTheWire)


def _read(reply: Reply, places: Sequence[int], options: RowOptions) -> Part:
    answer, count = _answer(reply), len(places)
    none: list[Any] = [None] * count
    kinds = [answer.embeddings, answer.sparse_embeddings, answer.multi_vector_embeddings]
    if any(kind is not None and len(kind) != count for kind in kinds):
        raise unexpected(f"The answer has other numbers of vectors than the request has texts, {count}.")

    def vectors(numbers: Any) -> Any:
        return np.asarray(numbers, options.dtype) if options.as_numpy and numbers is not None else numbers

    rows = [
        TextOutput(
            dense=vectors(dense),
            sparse=None if sparse is None else sparse_vector(sparse.indices, sparse.values, options),
            multi_vector=vectors(several),
        )
        for dense, sparse, several in zip(*(none if kind is None else kind for kind in kinds), strict=True)
    ]
    return Part(
        cast("Any", rows),
        answer.processing_time_ms,
        answer.token_counts,
        answer.truncated,
        list(places) if options.skip_none else None,
    )
