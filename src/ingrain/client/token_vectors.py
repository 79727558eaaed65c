"""Results with several vectors for each text: their types, and how responses are decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from ingrain.api.types import Answer
from ingrain.client.answers import Part
from ingrain.client.call import Reply
from ingrain.client.failures import unexpected

Matrices: TypeAlias = "list[list[list[float]]] | list[NDArray[Any]]"
"""For each text its vectors, ``[t, D]``: lists of numbers or, with ``return_numpy``, an array."""
_RAW_DTYPES = {"float32": "<f4", "float16": "<f2", "int8": "i1", "uint8": "u1"}


class MultiVectors(Answer, frozen=True, kw_only=True, eq=False):
    """Vectors of several texts, in their order.

    Attributes:
        embeddings: For each text its vectors, ``[t, D]``.
        processing_time_ms: The server's time; for a call of several requests, the client's time for all of them.
        token_counts: Tokens of each text, prompt and special tokens included, if requested.
        truncated: True for each text that was truncated, if requested.
        tokens: The tokens of each text, if requested.
        positions: With ``skip_none``, the index of each text in the caller's list.
    """

    embeddings: Matrices
    processing_time_ms: float
    token_counts: list[int] | None = None
    truncated: list[bool] | None = None
    tokens: list[list[str]] | None = None
    positions: list[int] | None = None

    def numpy(self) -> list[NDArray[Any]]:
        """Return the vectors of each text as an array ``[t, D]``; lists become float32."""
        return [one if isinstance(one, np.ndarray) else np.asarray(one, np.float32) for one in self.embeddings]


class Ragged:
    """Collects the vectors of several responses in order."""

    def __init__(self) -> None:
        self._all: list[Any] = []

    def add(self, rows: Any) -> None:
        """Append the vectors of some texts."""
        self._all += rows

    def all(self) -> Any:
        """Return the vectors of all texts."""
        return self._all


def multi_vectors_of(whole: Part) -> MultiVectors:
    """Return the rows of a whole call as vectors."""
    rows: Any = whole.rows
    return MultiVectors(
        embeddings=rows,
        processing_time_ms=whole.milliseconds,
        token_counts=whole.token_counts,
        truncated=whole.truncated,
        tokens=whole.tokens,
        positions=whole.places,
    )


def matrices_reader(places: Sequence[int], *, dtype: str | None, tells_places: bool = False) -> Callable[[Reply], Part]:
    """Return a function that decodes several vectors for each item, from raw numbers or JSON.

    Args:
        places: Index of each item in the caller's list.
        dtype: NumPy's dtype of the vectors; None for lists.
        tells_places: True to return the places in the result.
    """

    def read(reply: Reply) -> Part:
        raw = reply.headers.get("content-type", "").startswith("application/octet-stream")
        part = _raw(reply) if raw else _json(reply, dtype)
        if len(part.rows) != len(places):
            raise unexpected(f"The answer has the vectors of {len(part.rows)} texts to {len(places)} items.")
        return msgspec.structs.replace(part, places=list(places)) if tells_places else part

    return read


class _OnTheWire(Answer, frozen=True, kw_only=True):
    embeddings: list[list[list[int | float]]]
    processing_time_ms: float
    token_counts: list[int] | None = None
    truncated: list[bool] | None = None
    tokens: list[list[str]] | None = None


def _raw(reply: Reply) -> Part:
    try:
        rows, columns = map(int, reply.headers["x-embeddings-shape"].split(","))
        counts = [int(count) for count in reply.headers["x-vector-counts"].split(",")]
        milliseconds = float(reply.headers["x-processing-time-ms"])
        kind = np.dtype(_RAW_DTYPES[reply.headers["x-embeddings-dtype"]])
        vectors = np.frombuffer(bytearray(reply.content), kind).reshape(rows, columns)
        if sum(counts) != rows:
            raise ValueError
    except (KeyError, ValueError) as error:
        raise unexpected("The answer's numbers do not fit its headers.") from error
    matrices: Any = np.split(vectors, np.cumsum(counts)[:-1])
    return Part(matrices, milliseconds)


def _json(reply: Reply, dtype: str | None) -> Part:
    try:
        answer = msgspec.json.decode(reply.content, type=_OnTheWire)
        rows: Any = answer.embeddings
        if dtype is not None:
            rows = [np.asarray(one, dtype) for one in answer.embeddings]
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, OverflowError) as error:
        raise unexpected("The answer is not the JSON that was expected.") from error
    return Part(rows, answer.processing_time_ms, answer.token_counts, answer.truncated, None, answer.tokens)
