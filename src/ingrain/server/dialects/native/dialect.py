"""Ingrain's own dialect: the routes of the modules in this folder."""

from __future__ import annotations

from ingrain.api import types
from ingrain.server.dialects.native import (
    classify,
    classify_text,
    embed,
    embed_sparse,
    health,
    models,
    operations,
    rerank,
    stats,
    token_vectors,
    tuning,
)
from ingrain.server.dialects.native.errors import error_body
from ingrain.server.plane.route import Dialect

NATIVE = Dialect(
    name="native",
    routes=(
        *health.ROUTES,
        *stats.ROUTES,
        *embed.ROUTES,
        *embed_sparse.ROUTES,
        *token_vectors.ROUTES,
        *classify.ROUTES,
        *rerank.ROUTES,
        *classify_text.ROUTES,
        *models.ROUTES,
        *operations.ROUTES,
        *tuning.ROUTES,
    ),
    error_body=error_body,
    error_type=types.ErrorAnswer,
)
