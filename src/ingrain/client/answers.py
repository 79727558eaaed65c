"""Typed answers, read from replies; each also answers to the wire's names."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from ingrain.api.types import Answer
from ingrain.client.call import Reply
from ingrain.client.failures import unexpected

Floats = NDArray[np.float32]
Rows = list[list[float]] | Floats
"""``[N, D]``: lists of floats or, with ``return_numpy``, a float32 array."""

A = TypeVar("A")


class Embeddings(Answer, frozen=True, kw_only=True, eq=False):
    """Vectors in the order of the items.

    Attributes:
        embeddings: ``[N, D]``.
        processing_time_ms: The server's; where a call took several requests, from the first of them to the last answer.
    """

    embeddings: Rows
    processing_time_ms: float

    def numpy(self) -> Floats:
        """Return ``float32 [N, D]``, whatever the vectors were asked for as."""
        return np.asarray(self.embeddings, np.float32)


class BothEmbeddings(Answer, frozen=True, kw_only=True, eq=False):
    """Vectors of texts and of pictures, None where none were given; times as in ``Embeddings``."""

    text_embeddings: Rows | None
    image_embeddings: Rows | None
    processing_time_ms: float


class Probabilities(Answer, frozen=True, kw_only=True, eq=False):
    """``[N, K]``: a row for each picture in the order of the model's labels; times as in ``Embeddings``."""

    probabilities: Rows
    processing_time_ms: float


class ZeroShotProbabilities(Answer, frozen=True, kw_only=True, eq=False):
    """``[N, K]``: a row for each picture in the order of the labels given; times as in ``Embeddings``."""

    labels: list[str]
    probabilities: Rows
    processing_time_ms: float


class Part(msgspec.Struct, frozen=True, eq=False):
    """Rows of one request."""

    rows: Rows
    milliseconds: float


class _RowsOnTheWire(Answer, frozen=True, kw_only=True):
    processing_time_ms: float
    embeddings: list[list[float]] | None = None
    probabilities: list[list[float]] | None = None


def reader(kind: type[A]) -> Callable[[Reply], A]:
    """Return what reads a JSON answer of one type."""

    def read(reply: Reply) -> A:
        return _decode(reply, kind)

    return read


def rows_reader(count: int, *, as_numpy: bool) -> Callable[[Reply], Part]:
    """Return what reads ``count`` rows, of numbers as they are or of JSON."""

    def read(reply: Reply) -> Part:
        raw = reply.headers.get("content-type", "").startswith("application/octet-stream")
        part = _raw(reply) if raw else _json(reply, as_numpy=as_numpy)
        if len(part.rows) != count:
            raise unexpected(f"The answer has {len(part.rows)} rows to {count} items.")
        return part

    return read


def _raw(reply: Reply) -> Part:
    try:
        rows, columns = map(int, reply.headers["x-embeddings-shape"].split(","))
        milliseconds = float(reply.headers["x-processing-time-ms"])
        return Part(np.frombuffer(reply.content, "<f4").reshape(rows, columns), milliseconds)
    except (KeyError, ValueError) as error:
        raise unexpected("The answer's numbers do not fit its headers.") from error


def _json(reply: Reply, *, as_numpy: bool) -> Part:
    answer = _decode(reply, _RowsOnTheWire)
    rows = answer.embeddings if answer.embeddings is not None else answer.probabilities
    if rows is None:
        raise unexpected("The answer holds no rows.")
    try:
        return Part(np.asarray(rows, np.float32) if as_numpy else rows, answer.processing_time_ms)
    except ValueError as error:
        raise unexpected("The answer's rows are of different lengths.") from error


def _decode(reply: Reply, kind: type[A]) -> A:
    try:
        return msgspec.json.decode(reply.content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise unexpected("The answer is not the JSON that was expected.") from error
