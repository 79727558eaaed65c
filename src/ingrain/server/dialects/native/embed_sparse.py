"""The route that embeds texts into sparse vectors."""

from __future__ import annotations

import time

from ingrain.api.embed_sparse import EmbedSparseRequest, SparseEmbeddingsAnswer
from ingrain.server.dialects.native.fields import model_name, texts_of
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.answers import array_answer, counts_of, mark_truncated, milliseconds_since
from ingrain.server.plane.bodies import decode
from ingrain.server.plane.cache_control import cache_group
from ingrain.server.plane.route import Work, inference_route
from ingrain.server.plane.services import Services
from ingrain.tasks.embed_sparse import EmbedSparse, SparseForm, SparseTexts

_NOTES = (
    "`inputType` chooses the encoder of a model that has one for queries and another for documents. X-Truncated-Texts "
    "is the number of truncated texts, if there are any. With `Cache-Control: no-store` every text is computed, "
    "whatever the cache holds."
)


def _embed_sparse(services: Services, request: Request) -> Work[SparseTexts]:
    body = decode(request.body, EmbedSparseRequest)
    started = time.perf_counter()
    form = SparseForm(
        top_k=body.top_k,
        min_weight=body.min_weight or 0.0,
        with_tokens=body.tokens is True,
        input_type=body.input_type,
    )

    def respond(done: SparseTexts) -> Response:
        answer: dict[str, object] = {"embeddings": sparse_rows(done)}
        if body.token_counts:
            answer |= counts_of(done)
        return mark_truncated(array_answer(answer | {"processingTimeMs": milliseconds_since(started)}), done)

    texts = texts_of(body, body.text, cache_group(services, request))
    return Work(EmbedSparse(model_name(body), texts, form), respond)


def sparse_rows(done: SparseTexts) -> list[dict[str, object]]:
    """Return sparse vectors as JSON has them."""
    vectors: list[dict[str, object]] = [{"indices": vector.indices, "values": vector.values} for vector in done.vectors]
    for vector, tokens in zip(vectors, done.tokens or (), strict=False):
        vector["tokens"] = tokens
    return vectors


ROUTES = (
    inference_route(
        "embed_sparse",
        _embed_sparse,
        "Embed texts into sparse vectors.",
        EmbedSparseRequest,
        SparseEmbeddingsAnswer,
        notes=_NOTES,
    ),
)
