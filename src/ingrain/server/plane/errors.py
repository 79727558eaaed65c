"""Errors become statuses and bodies here, and nowhere else."""

from __future__ import annotations

import math

import orjson

from ingrain import errors
from ingrain.errors import IngrainError
from ingrain.server.http.message import Response

STATUS: dict[type[IngrainError], int] = {
    errors.RequestError: 400,
    errors.NotFoundError: 404,
    errors.MethodNotAllowedError: 405,
    errors.TuningInProgressError: 409,
    errors.TooLargeError: 413,
    errors.HeadersTooLargeError: 431,
    errors.AuthenticationError: 401,
    errors.PermissionDeniedError: 403,
    errors.OverloadError: 429,
    errors.EngineUnavailableError: 503,
    errors.ModelLoadingError: 503,
    errors.DeadlineExceededError: 504,
    errors.SourceForbiddenError: 400,
    errors.SourceUnavailableError: 503,
    errors.ExportUnavailableError: 503,
    errors.ExportTimeoutError: 504,
    errors.MachineError: 503,
    errors.DiskFullError: 507,
    IngrainError: 500,
}
"""Status by class; a class that is not listed has that of its nearest listed ancestor."""


_RETRY_AFTER_S = 10.0
_OPENAI_PATHS = "/v1/"
_OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_OPENAI_CODES: dict[type[IngrainError], str] = {
    errors.ModelNotLoadedError: "model_not_found",
    errors.QueueFullError: "rate_limit_exceeded",
    errors.TextTooLongError: "context_length_exceeded",
}
_OPENAI_PARAMS = {"name": "model", "promptName": "prompt_name", "outputDtype": "output_dtype"}


def status_of(error: IngrainError) -> int:
    """Return the HTTP status of an error."""
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)


def error_response(error: IngrainError, request_id: str, path: str = "") -> Response:
    """Build the answer for an error: message, code, field, facts, and when to try again.

    Args:
        error: What went wrong.
        request_id: Of the request.
        path: Of the request; below ``/v1/`` the body is OpenAI's error object.
    """
    status = status_of(error)
    if path.startswith(_OPENAI_PATHS):
        body: dict[str, object] = {"error": _openai_error(error, status)}
    else:
        detail = {"code": error.code, "message": error.message, "param": error.param, "requestId": request_id}
        body = {"message": error.message, "error": {**error.facts, **detail}}
    response = Response(orjson.dumps(body), status)
    retry_after_s = error.retry_after_s
    if retry_after_s is None and response.status == 503:
        retry_after_s = _RETRY_AFTER_S
    if retry_after_s is not None:
        response.headers["retry-after"] = str(max(1, math.ceil(retry_after_s)))
    response.headers["x-request-id"] = request_id
    if isinstance(error, errors.AuthenticationError):
        response.headers["www-authenticate"] = "Bearer"
    return response


def _openai_error(error: IngrainError, status: int) -> dict[str, object]:
    """Return OpenAI's error object, in OpenAI's words where it has words for it."""
    return {
        **error.facts,
        "message": error.message,
        "type": _OPENAI_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error"),
        "param": _OPENAI_PARAMS.get(error.param, error.param) if error.param is not None else None,
        "code": _OPENAI_CODES.get(type(error), error.code),
    }
