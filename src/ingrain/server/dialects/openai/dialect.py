"""OpenAI's dialect."""

from __future__ import annotations

from ingrain.api import openai as types
from ingrain.server.dialects.openai.errors import error_body
from ingrain.server.dialects.openai.routes import ROUTES
from ingrain.server.plane.route import Dialect

OPENAI = Dialect(
    name="OpenAI",
    routes=ROUTES,
    error_body=error_body,
    error_type=types.OpenAIErrorAnswer,
    prefix="/v1/",
)
