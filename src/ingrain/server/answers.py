"""Answers as bytes, numpy rows without Python floats in between."""

from __future__ import annotations

import io
import time

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from ingrain.server.accept import preferred
from ingrain.server.http.message import Request, Response

_encoder = msgspec.json.Encoder()
_JSON, _RAW, _NPY = "application/json", "application/octet-stream", "application/x-npy"
VECTOR_MEDIA = (_RAW, _NPY)
"""Media types besides JSON in which ``vectors_answer`` gives vectors."""


def struct_answer(body: msgspec.Struct, status: int = 200) -> Response:
    """Encode a typed answer."""
    return Response(_encoder.encode(body), status)


def array_answer(body: dict[str, object]) -> Response:
    """Encode an answer that holds numpy arrays: ``float32 [N, D]`` becomes a list of lists."""
    return Response(orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY))


def vectors_answer(request: Request, rows: NDArray[np.float32], started: float) -> Response:
    """Encode vectors as the caller's ``Accept`` header has it.

    Args:
        request: With ``application/json`` (what is not said otherwise), ``application/octet-stream`` for the numbers as
            they are, little-endian, row by row, or ``application/x-npy`` for a file that ``numpy.load`` reads.
        rows: ``float32 [N, D]``.
        started: When the parsed request was taken up, by ``time.perf_counter``.
    """
    milliseconds = milliseconds_since(started)
    accept = request.header("accept")
    media = preferred(accept, (_JSON, *VECTOR_MEDIA)) if accept else _JSON
    if media == _JSON:
        return array_answer({"embeddings": rows, "processingTimeMs": milliseconds})
    headers = {
        "x-embeddings-shape": ",".join(map(str, rows.shape)),
        "x-processing-time-ms": str(milliseconds),
    }
    little_endian = rows.astype("<f4", copy=False)
    if media == _RAW:
        return Response(little_endian.tobytes(), media_type=_RAW, headers=headers)
    file = io.BytesIO()
    np.save(file, little_endian, allow_pickle=False)
    return Response(file.getvalue(), media_type=_NPY, headers=headers)


def milliseconds_since(started: float) -> float:
    """Return milliseconds since a moment of ``time.perf_counter``, to the microsecond."""
    return round(1e3 * (time.perf_counter() - started), 3)
