"""OpenAI's error object, with OpenAI's types and codes if it has them for an error.

Clients of Jina and of Voyage, which use OpenAI's path, find the message in ``detail``.
"""

from __future__ import annotations

from collections.abc import Mapping

from ingrain import errors
from ingrain.errors import IngrainError

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
CODES: Mapping[type[IngrainError], str] = {
    errors.ModelNotLoadedError: "model_not_found",
    errors.QueueFullError: "rate_limit_exceeded",
    errors.TextTooLongError: "context_length_exceeded",
}
_PARAMS = {"name": "model", "promptName": "prompt_name", "outputDtype": "output_dtype"}


def error_body(
    error: IngrainError, status: int, request_id: str, codes: Mapping[type[IngrainError], str] = CODES
) -> dict[str, object]:
    """Return the body of an error response; ``codes`` are those of the errors whose code is not Ingrain's."""
    del request_id  # only the response headers have it
    return {
        "error": {
            **error.facts,
            "message": error.message,
            "type": _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error"),
            "param": _PARAMS.get(error.param, error.param) if error.param is not None else None,
            "code": codes.get(type(error), error.code),
        },
        "detail": error.message,
    }
