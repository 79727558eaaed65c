"""Encodes responses with several vectors for each text."""

from __future__ import annotations

import io
from itertools import accumulate, pairwise

import numpy as np
import pybase64

from ingrain.errors import InvalidRequestError
from ingrain.postprocess.quantize import AnyVectors
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.accept import preferred
from ingrain.server.plane.answers import VECTOR_MEDIA, array_answer, little_endian, milliseconds_since
from ingrain.tasks.token_vectors import TokenVectors

TOKEN_MEDIA = VECTOR_MEDIA
"""Media types of ``token_vectors_answer`` besides JSON."""
MOST_RAW_TEXTS = 512
"""Largest number of texts in a response of raw numbers: their vectors are counted in a header, which proxies limit."""

_JSON = "application/json"


def chosen_media(request: Request, texts: int) -> str:
    """Return the media type that a request's ``Accept`` header prefers.

    Raises:
        InvalidRequestError: The request has too many texts for a response of raw numbers.
    """
    accept = request.headers.get(b"accept", b"*/*").decode("latin-1")
    media = preferred(accept, (_JSON, *TOKEN_MEDIA)) or _JSON
    if media != _JSON and texts > MOST_RAW_TEXTS:
        raise InvalidRequestError(
            f"The request has {texts} texts; a response in {media} holds the vectors of {MOST_RAW_TEXTS} at most. Send "
            "fewer texts at a time, or accept application/json.",
            param="text",
            facts={"limit": MOST_RAW_TEXTS},
        )
    return media


def token_vectors_answer(
    media: str, done: TokenVectors, started: float, *, as_base64: bool, with_counts: bool, with_tokens: bool
) -> Response:
    """Encode the vectors of several texts.

    Args:
        media: ``application/json``, ``application/octet-stream`` (raw little-endian numbers) or ``application/x-npy``.
        done: The vectors.
        started: Time at which the request was parsed, by ``time.perf_counter``.
        as_base64: True to write a text's vectors as base64 in JSON.
        with_counts: True to include the token counts of the texts in JSON.
        with_tokens: True to include the tokens of the texts in JSON.
    """
    response = _encoded(media, done, started, as_base64, with_counts, with_tokens)
    if cut := done.truncated:
        response.headers["x-truncated-texts"] = str(cut)
    return response


def token_rows(done: TokenVectors, *, as_base64: bool) -> list[AnyVectors] | list[str]:
    """Return the vectors of each text as JSON has them: numbers, or base64 of all of them."""
    vectors = little_endian(done.vectors())
    rows = [vectors[first:end] for first, end in pairwise(accumulate(done.counts, initial=0))]
    return [pybase64.b64encode_as_string(row.tobytes()) for row in rows] if as_base64 else rows


def token_counts_of(done: TokenVectors) -> dict[str, object]:
    """Return the response fields with each text's token count and whether it was truncated."""
    return {"tokenCounts": done.token_counts, "truncated": done.was_truncated}


def _encoded(
    media: str, done: TokenVectors, started: float, as_base64: bool, with_counts: bool, with_tokens: bool
) -> Response:
    milliseconds, counts = milliseconds_since(started), done.counts
    if media == _JSON:
        body: dict[str, object] = {"embeddings": token_rows(done, as_base64=as_base64), "vectorCounts": counts}
        if with_counts:
            body |= token_counts_of(done)
        if with_tokens:
            body["tokens"] = done.tokens()
        return array_answer(body | {"processingTimeMs": milliseconds})
    vectors = little_endian(done.vectors())
    headers = {
        "x-embeddings-shape": ",".join(map(str, vectors.shape)),
        "x-embeddings-dtype": str(vectors.dtype),
        "x-vector-counts": ",".join(map(str, counts)),
        "x-processing-time-ms": str(milliseconds),
    }
    if media == VECTOR_MEDIA[0]:
        return Response(vectors.data.cast("B"), media_type=media, headers=headers)
    file = io.BytesIO()
    np.save(file, vectors, allow_pickle=False)
    return Response(file.getvalue(), media_type=media, headers=headers)
