"""Answers as bytes, numpy rows without Python floats in between."""

from __future__ import annotations

import io
import time

import msgspec
import numpy as np
import orjson
import pybase64

from ingrain.postprocess.quantize import AnyVectors
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.accept import preferred
from ingrain.tasks.embed_text import EmbeddedTexts

_encoder = msgspec.json.Encoder()
_JSON, _RAW, _NPY = "application/json", "application/octet-stream", "application/x-npy"
_PLAIN_ACCEPTS = (b"*/*", b"application/json", b"")
VECTOR_MEDIA = (_RAW, _NPY)
"""Media types besides JSON in which ``vectors_answer`` gives vectors."""


def struct_answer(body: msgspec.Struct, status: int = 200) -> Response:
    """Encode a typed answer."""
    return Response(_encoder.encode(body), status)


def array_answer(body: dict[str, object]) -> Response:
    """Encode an answer that holds numpy arrays: ``float32 [N, D]`` becomes a list of lists."""
    return Response(orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY))


def vectors_answer(
    request: Request,
    rows: AnyVectors,
    started: float,
    *,
    as_base64: bool = False,
    texts: EmbeddedTexts | None = None,
    with_counts: bool = False,
) -> Response:
    """Encode vectors as the caller's ``Accept`` header has it.

    Args:
        request: With ``application/json`` (what is not said otherwise), ``application/octet-stream`` for the numbers as
            they are, little-endian, row by row, or ``application/x-npy`` for a file that ``numpy.load`` reads.
        rows: ``[N, D]``.
        started: When the parsed request was taken up, by ``time.perf_counter``.
        as_base64: True for base64 in JSON instead of numbers.
        texts: What the vectors are of, where they are of texts.
        with_counts: True to tell in JSON what became of each text.
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
    little_endian = _little_endian(rows)
    if media == _RAW:
        return mark_truncated(Response(little_endian.tobytes(), media_type=_RAW, headers=headers), texts)
    file = io.BytesIO()
    np.save(file, little_endian, allow_pickle=False)
    return mark_truncated(Response(file.getvalue(), media_type=_NPY, headers=headers), texts)


def base64_rows(rows: AnyVectors) -> list[str]:
    """Return each row's numbers, little-endian, as base64."""
    return [pybase64.b64encode_as_string(row) for row in np.ascontiguousarray(_little_endian(rows))]


def counts_of(texts: EmbeddedTexts) -> dict[str, object]:
    """Return what became of each text, as the answer has it."""
    return {
        "tokenCounts": [len(item) for item in texts.items],
        "truncated": [item.cut_tokens > 0 for item in texts.items],
    }


def mark_truncated(response: Response, texts: EmbeddedTexts | None) -> Response:
    """Tell in a header how many texts were cut, if any was."""
    if texts is not None and (cut := texts.truncated):
        response.headers["x-truncated-texts"] = str(cut)
    return response


def _little_endian(rows: AnyVectors) -> AnyVectors:
    return rows.astype(rows.dtype.newbyteorder("<"), copy=False)


def milliseconds_since(started: float) -> float:
    """Return milliseconds since a moment of ``time.perf_counter``, to the microsecond."""
    return int(1e6 * (time.perf_counter() - started)) / 1e3  # round() takes four times as long
