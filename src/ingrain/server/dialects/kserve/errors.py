"""The protocol's error bodies."""

from __future__ import annotations

from ingrain.errors import IngrainError


def error_body(error: IngrainError, status: int, request_id: str) -> dict[str, object]:
    """Return the body of an error response."""
    del status, request_id  # only the response's head has them
    return {"error": error.message}
