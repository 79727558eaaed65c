"""Typed results of the client's methods, and functions that decode them from responses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from ingrain.api.types import Answer, MessageAnswer
from ingrain.client.call import Reply
from ingrain.client.failures import unexpected

Rows = list[list[float]] | NDArray[Any]
"""``[N, D]``: lists of numbers or, with ``return_numpy``, an array of float32, or of int8 or uint8 if requested."""
DTYPES: dict[str | None, str] = {
    None: "float32",
    "float": "float32",
    "float16": "float16",
    "int8": "int8",
    "uint8": "uint8",
    "binary": "int8",
    "ubinary": "uint8",
}
"""NumPy's dtype of the numbers, by ``outputDtype``."""

A = TypeVar("A")

_RAW_DTYPES = {"float32": "<f4", "int8": "i1", "uint8": "u1"}


class Health(NamedTuple):
    """What both planes say if they are alive."""

    inference: MessageAnswer
    model: MessageAnswer


class Embeddings(Answer, frozen=True, kw_only=True, eq=False):
    """Vectors in the order of the items.

    Attributes:
        embeddings: ``[N, D]``.
        processing_time_ms: The server's time; for a call of several requests, the client's time for all of them.
        token_counts: Tokens of each text, prompt and special tokens included, if requested.
        truncated: True for each text that was truncated, if requested.
        positions: With ``skip_none``, the index of each row's item in the caller's list.
    """

    embeddings: Rows
    processing_time_ms: float
    token_counts: list[int] | None = None
    truncated: list[bool] | None = None
    positions: list[int] | None = None

    def numpy(self) -> NDArray[Any]:
        """Return the vectors as an array ``[N, D]``; lists become float32."""
        if not len(self.embeddings):
            return np.empty((0, 0), np.float32) if isinstance(self.embeddings, list) else self.embeddings
        return np.asarray(self.embeddings, None if isinstance(self.embeddings, np.ndarray) else np.float32)


class BothEmbeddings(Answer, frozen=True, kw_only=True, eq=False):
    """Vectors of texts and of images, None if none were given; all else as in ``Embeddings``."""

    text_embeddings: Rows | None
    image_embeddings: Rows | None
    processing_time_ms: float
    token_counts: list[int] | None = None
    truncated: list[bool] | None = None
    text_positions: list[int] | None = None
    image_positions: list[int] | None = None


class Probabilities(Answer, frozen=True, kw_only=True, eq=False):
    """``[N, K]``: a row per image, in the order of the model's labels; times as in ``Embeddings``."""

    probabilities: Rows
    processing_time_ms: float


class ZeroShotProbabilities(Answer, frozen=True, kw_only=True, eq=False):
    """``[N, K]``: a row per image, in the order of ``labels``; times as in ``Embeddings``."""

    labels: list[str]
    probabilities: Rows
    processing_time_ms: float


class Part(msgspec.Struct, frozen=True, eq=False):
    """Rows of one request or of a whole call, with the facts about their items."""

    rows: Rows
    milliseconds: float
    token_counts: list[int] | None = None
    truncated: list[bool] | None = None
    places: list[int] | None = None
    tokens: list[list[str]] | None = None


def embeddings_of(whole: Part) -> Embeddings:
    """Return rows as vectors."""
    return Embeddings(
        embeddings=whole.rows,
        processing_time_ms=whole.milliseconds,
        token_counts=whole.token_counts,
        truncated=whole.truncated,
        positions=whole.places,
    )


def both_of(texts: Embeddings | None, images: Embeddings | None) -> BothEmbeddings:
    """Return the vectors of texts and of images as one result."""
    return BothEmbeddings(
        text_embeddings=texts.embeddings if texts is not None else None,
        image_embeddings=images.embeddings if images is not None else None,
        processing_time_ms=max(one.processing_time_ms for one in (texts, images) if one is not None),
        token_counts=texts.token_counts if texts is not None else None,
        truncated=texts.truncated if texts is not None else None,
        text_positions=texts.positions if texts is not None else None,
        image_positions=images.positions if images is not None else None,
    )


def probabilities_of(whole: Part) -> Probabilities:
    """Return rows as probabilities of the model's labels."""
    return Probabilities(probabilities=whole.rows, processing_time_ms=whole.milliseconds)


def zero_shot_of(labels: list[str], whole: Part) -> ZeroShotProbabilities:
    """Return rows as probabilities of the caller's labels."""
    return ZeroShotProbabilities(labels=labels, probabilities=whole.rows, processing_time_ms=whole.milliseconds)


class _RowsOnTheWire(Answer, frozen=True, kw_only=True):
    processing_time_ms: float
    embeddings: list[list[int | float]] | None = None
    probabilities: list[list[float]] | None = None
    token_counts: list[int] | None = None
    truncated: list[bool] | None = None


def reader(kind: type[A]) -> Callable[[Reply], A]:
    """Return a function that decodes a JSON response of one type."""

    def read(reply: Reply) -> A:
        return _decode(reply, kind)

    return read


def rows_reader(places: Sequence[int], *, dtype: str | None, tells_places: bool = False) -> Callable[[Reply], Part]:
    """Return a function that decodes a row per item, from raw numbers or JSON.

    Args:
        places: Index of each item in the caller's list.
        dtype: NumPy's dtype of the rows; None for lists.
        tells_places: True to return the places in the result.
    """

    def read(reply: Reply) -> Part:
        raw = reply.headers.get("content-type", "").startswith("application/octet-stream")
        part = _raw(reply) if raw else _json(reply, dtype)
        if len(part.rows) != len(places):
            raise unexpected(f"The answer has {len(part.rows)} rows to {len(places)} items.")
        return msgspec.structs.replace(part, places=list(places)) if tells_places else part

    return read


def _raw(reply: Reply) -> Part:
    try:
        rows, columns = map(int, reply.headers["x-embeddings-shape"].split(","))
        milliseconds = float(reply.headers["x-processing-time-ms"])
        kind = np.dtype(_RAW_DTYPES[reply.headers.get("x-embeddings-dtype", "float32")])
        return Part(np.frombuffer(bytearray(reply.content), kind).reshape(rows, columns), milliseconds)
    except (KeyError, ValueError) as error:
        raise unexpected("The answer's numbers do not fit its headers.") from error


def _json(reply: Reply, dtype: str | None) -> Part:
    answer = _decode(reply, _RowsOnTheWire)
    found = answer.embeddings if answer.embeddings is not None else answer.probabilities
    if found is None:
        raise unexpected("The answer holds no rows.")
    try:
        rows: Rows = cast("list[list[float]]", found) if dtype is None else np.asarray(found, dtype)
    except (ValueError, OverflowError) as error:
        raise unexpected("The answer's rows are of different lengths, or of other numbers than asked for.") from error
    return Part(rows, answer.processing_time_ms, answer.token_counts, answer.truncated)


def _decode(reply: Reply, kind: type[A]) -> A:
    try:
        return msgspec.json.decode(reply.content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise unexpected("The answer is not the JSON that was expected.") from error
