"""Cohere's error bodies and statuses."""

from __future__ import annotations

from ingrain import errors
from ingrain.errors import IngrainError


def status(error: IngrainError, usual: int) -> int:
    """Return the HTTP status of an error: Cohere has 422 for unknown fields, and 400 for too many or too long texts."""
    if "knownFields" in error.facts:
        return 422
    # Only the error about a whole body names no field.
    return 400 if usual == 413 and error.param is not None else usual


def error_body(error: IngrainError, status: int, request_id: str) -> dict[str, object]:
    """Return the body of an error response; Jina's clients, which share a path, read ``detail``."""
    message = error.message
    if status == 422:
        known = error.facts["knownFields"]
        assert isinstance(known, list)
        message = f"unknown field: parameter {error.param!r} is not a valid field. The fields are {', '.join(known)}."
    elif isinstance(error, errors.TextTooLongError):
        limit, tokens = error.facts["limit"], error.facts["tokens"]
        message = (
            f"too many tokens: {error.param} has {tokens} tokens, and the limit is {limit}. Shorten the text, or set "
            "truncate to END or START."
        )
    return {"id": request_id, "message": message, "detail": message}
