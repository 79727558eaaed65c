"""TEI's error bodies, with its statuses."""

from __future__ import annotations

from ingrain import errors
from ingrain.errors import IngrainError, InvalidRequestError

_STATUSES: dict[type[IngrainError], int] = {
    errors.TextTooLongError: 413,
    errors.TokenizerError: 422,
    errors.ModalityError: 424,
    errors.InferenceError: 424,
    errors.NotFiniteError: 424,
}
_KINDS: dict[type[IngrainError], str] = {
    errors.TokenizerError: "Tokenizer",
    errors.ModalityError: "Backend",
    errors.RequestError: "Validation",
    errors.OverloadError: "Overloaded",
    errors.EngineUnavailableError: "Unhealthy",
    errors.ModelLoadingError: "Unhealthy",
    IngrainError: "Backend",
}
# What TEI finds wrong only for its model, and then answers 413; such errors have facts about the model.
_OF_THE_MODEL = ("promptName", "dimensions")
_EMPTY: dict[str, object] = {"isEmpty": True}
DEFAULT_MODEL = "the default model"
"""The field at fault in errors about requests that name no model."""


def empty(param: str) -> InvalidRequestError:
    """Return the error for an empty list."""
    return InvalidRequestError(f"`{param}` cannot be empty", param=param, facts=_EMPTY)


def status(error: IngrainError, usual: int) -> int:
    """Return the HTTP status of an error, from its usual one."""
    for kind in type(error).__mro__:
        if kind in _STATUSES:
            return _STATUSES[kind]
    if isinstance(error, errors.ModelNotLoadedError) and error.param == DEFAULT_MODEL:
        return 424
    if not isinstance(error, InvalidRequestError) or error.param is None or error.facts is _EMPTY:
        return usual
    return 413 if error.facts and error.param in _OF_THE_MODEL else 422


def error_body(error: IngrainError, status: int, request_id: str) -> dict[str, object]:
    """Return the body of an error response."""
    del request_id  # only the response headers have it
    kind = next(_KINDS[cls] for cls in type(error).__mro__ if cls in _KINDS)
    if error.facts is _EMPTY:
        kind = "Empty"
    elif isinstance(error, errors.ModelNotLoadedError) and status == 424:
        kind = "Backend"
    message = error.message
    if isinstance(error, errors.TextTooLongError):
        limit, tokens = error.facts["limit"], error.facts["tokens"]
        message = f"Input validation error: `{error.param}` must have at most {limit} tokens. Given: {tokens}"
    return {"error": message, "error_type": kind}
