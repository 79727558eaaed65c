"""Encoders of response bodies; numpy arrays are encoded without a conversion to Python floats."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from typing import Protocol

import msgspec
import numpy as np
import orjson
import pybase64

from ingrain.errors import InvalidRequestError
from ingrain.postprocess.quantize import AnyVectors
from ingrain.preprocess.tokenized import TokenizedText, cut_tokens_of, lengths_of
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.accept import preferred
from ingrain.tasks.embed_text import EmbeddedTexts

_encoder = msgspec.json.Encoder()
_JSON, _RAW, _NPY = "application/json", "application/octet-stream", "application/x-npy"
_PLAIN_ACCEPTS = (b"*/*", b"application/json", b"")
VECTOR_MEDIA = (_RAW, _NPY)
"""Media types of ``vectors_answer`` besides JSON."""


def struct_answer(body: msgspec.Struct, status: int = 200) -> Response:
    """Encode a response body that has a type."""
    return Response(_encoder.encode(body), status)


def typed_answer(body: object) -> Response:
    """Encode a response body of any type that msgspec knows."""
    return Response(_encoder.encode(body))


def array_answer(body: object) -> Response:
    """Encode a response body that is, or holds, numpy arrays: ``float32 [N, D]`` becomes a list of lists.

    Raises:
        InvalidRequestError: A document of the request, which the response returns, is nested too deeply.
    """
    try:
        return Response(_numpy_as_json(body))
    except TypeError:
        pass  # orjson refuses integers of more than 64 bits and deep nesting, which a returned document may have
    try:
        return Response(msgspec.json.encode(body, enc_hook=lambda value: msgspec.Raw(_numpy_as_json(value))))
    except RecursionError as error:
        raise InvalidRequestError("The request holds values that are nested too deeply to be returned.") from error


def _numpy_as_json(body: object) -> bytes:
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def vectors_answer(
    request: Request,
    rows: AnyVectors,
    started: float,
    *,
    as_base64: bool = False,
    texts: EmbeddedTexts | None = None,
    with_counts: bool = False,
) -> Response:
    """Encode vectors in the format that the request's ``Accept`` header prefers.

    Args:
        request: Its ``Accept`` header chooses ``application/json`` (default), ``application/octet-stream`` (raw
            little-endian numbers, row by row) or ``application/x-npy`` (a file for ``numpy.load``).
        rows: Vectors, ``[N, D]``.
        started: Time at which the request was parsed, by ``time.perf_counter``.
        as_base64: True to write base64 in JSON instead of numbers.
        texts: The embedded texts; None for vectors of images.
        with_counts: True to include the token counts of the texts in JSON.
    """
    milliseconds = milliseconds_since(started)
    accept = request.headers.get(b"accept", b"*/*")
    media = _JSON if accept in _PLAIN_ACCEPTS else preferred(accept.decode("latin-1"), (_JSON, *VECTOR_MEDIA))
    if media == _JSON:
        body: dict[str, object] = {"embeddings": base64_rows(rows) if as_base64 else rows}
        if with_counts and texts is not None:
            body |= counts_of(texts)
        body["processingTimeMs"] = milliseconds
        return mark_truncated(array_answer(body), texts)
    headers = {
        "x-embeddings-shape": ",".join(map(str, rows.shape)),
        "x-embeddings-dtype": str(rows.dtype),
        "x-processing-time-ms": str(milliseconds),
    }
    numbers = little_endian(rows)
    if media == _RAW:
        raw = np.ascontiguousarray(numbers).data.cast("B")
        return mark_truncated(Response(raw, media_type=_RAW, headers=headers), texts)
    file = io.BytesIO()
    np.save(file, numbers, allow_pickle=False)
    return mark_truncated(Response(file.getvalue(), media_type=_NPY, headers=headers), texts)


def base64_rows(rows: AnyVectors) -> list[str]:
    """Return each row as base64 of its little-endian numbers."""
    return [pybase64.b64encode_as_string(row) for row in np.ascontiguousarray(little_endian(rows))]


class Counted(Protocol):
    """Texts, or pairs of texts, with their tokens."""

    @property
    def items(self) -> Sequence[TokenizedText]:
        """The tokenized texts."""

    @property
    def truncated(self) -> int:
        """Number of truncated texts."""


def counts_of(texts: Counted) -> dict[str, object]:
    """Return the response fields with each text's token count and whether it was truncated."""
    return {
        "tokenCounts": lengths_of(texts.items),
        "truncated": [cut > 0 for cut in cut_tokens_of(texts.items)],
    }


def mark_truncated(response: Response, texts: Counted | None) -> Response:
    """Set ``X-Truncated-Texts`` to the number of truncated texts, unless it is 0."""
    if texts is not None and (cut := texts.truncated):
        response.headers["x-truncated-texts"] = str(cut)
    return response


def mark_cut(response: Response, items: Sequence[TokenizedText]) -> Response:
    """Set ``X-Truncated-Texts`` to the number of truncated items, unless it is 0."""
    if cut := sum(tokens > 0 for tokens in cut_tokens_of(items)):
        response.headers["x-truncated-texts"] = str(cut)
    return response


def little_endian(rows: AnyVectors) -> AnyVectors:
    """Return numbers in little-endian byte order."""
    return rows.astype(rows.dtype.newbyteorder("<"), copy=False)


def milliseconds_since(started: float) -> float:
    """Return the milliseconds since ``started`` (``time.perf_counter``), with microsecond precision."""
    return int(1e6 * (time.perf_counter() - started)) / 1e3  # round() is four times slower
