"""Ollama's dialect: its routes on the two planes, and all of them together on a port of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ingrain.server.dialects.ollama import embed, models
from ingrain.server.dialects.ollama.errors import error_body, status_of
from ingrain.server.dialects.ollama.types import OllamaErrorAnswer
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.route import Dialect, Route
from ingrain.server.plane.services import Services

_HEALTH = ("/health", "/ready")

OLLAMA = Dialect(
    name="Ollama",
    routes=(*embed.ROUTES, *models.ROUTES),
    error_body=error_body,
    error_type=OllamaErrorAnswer,
    prefix="/api/",
    status=status_of,
)


async def _running(services: Services, request: Request) -> Response:
    del services, request
    return Response(b"Ollama is running", media_type="text/plain; charset=utf-8")


_RUNNING = Route(
    name="ollama_running",
    plane="inference",
    method="GET",
    path="/",
    handler=_running,
    summary="Liveness: answers while the process runs.",
    media=("text/plain",),
)


def on_own_port(dialects: Sequence[Dialect]) -> list[Dialect]:
    """Return the dialects of a port that clients take for a whole Ollama.

    These are Ollama's own routes of both planes, OpenAI's, which Ollama has too, and Ingrain's for health.

    Args:
        dialects: The dialects of the server.
    """
    own = replace(OLLAMA, routes=(_RUNNING, *(replace(route, plane="inference") for route in OLLAMA.routes)))
    native, *others = dialects
    health = [route for route in native.routes if route.path in _HEALTH]
    return [own, *(one for one in others if one.key == "openai"), replace(native, routes=health)]
