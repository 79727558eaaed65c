"""Answers as bytes, numpy rows without Python floats in between."""

from __future__ import annotations

import msgspec
import orjson

from ingrain.server.http.message import Response

_encoder = msgspec.json.Encoder()


def struct_answer(body: msgspec.Struct, status: int = 200) -> Response:
    """Encode a typed answer."""
    return Response(_encoder.encode(body), status)


def array_answer(body: dict[str, object]) -> Response:
    """Encode an answer that holds numpy arrays: ``float32 [N, D]`` becomes a list of lists."""
    return Response(orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY))
