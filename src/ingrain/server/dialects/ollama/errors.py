"""Ollama's error object, with Ollama's words and statuses where its clients look at them."""

from __future__ import annotations

from ingrain import errors
from ingrain.errors import IngrainError


def error_body(error: IngrainError, status: int, request_id: str) -> dict[str, object]:
    """Return the body of an error response."""
    del status, request_id  # only the response itself has them
    return {"error": message_of(error)}


def message_of(error: IngrainError) -> str:
    """Return the message of an error."""
    if isinstance(error, errors.ModelNotLoadedError) and "model" in error.facts:
        return f'model "{error.facts["model"]}" not found, try pulling it first'
    if isinstance(error, errors.TextTooLongError):
        return f"the input length exceeds the context length: {error.message}"
    if _is_busy(error):
        return f"server busy, please try again. {error.message}"
    return error.message


def status_of(error: IngrainError, usual: int) -> int:
    """Return the HTTP status of an error: Ollama has 503 for a server that is busy."""
    return 503 if _is_busy(error) else usual


def _is_busy(error: IngrainError) -> bool:
    return isinstance(error, errors.OverloadError) and not isinstance(error, errors.RateLimitError)
