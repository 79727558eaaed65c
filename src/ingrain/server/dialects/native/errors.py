"""Error bodies of Ingrain's own API."""

from __future__ import annotations

from ingrain.errors import IngrainError


def error_body(error: IngrainError, status: int, request_id: str) -> dict[str, object]:
    """Return the body of an error response."""
    del status  # the body does not repeat the HTTP status
    detail = {"code": error.code, "message": error.message, "param": error.param, "requestId": request_id}
    return {"message": error.message, "error": {**error.facts, **detail}}
