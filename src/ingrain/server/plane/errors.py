"""HTTP statuses and responses of errors."""

from __future__ import annotations

import math

import orjson

from ingrain import errors
from ingrain.errors import IngrainError
from ingrain.server.http.message import Response
from ingrain.server.plane.route import Dialect

STATUS: dict[type[IngrainError], int] = {
    errors.RequestError: 400,
    errors.NotFoundError: 404,
    errors.MethodNotAllowedError: 405,
    errors.TuningInProgressError: 409,
    errors.OperationEndedError: 409,
    errors.TooLargeError: 413,
    errors.HeadersTooLargeError: 431,
    errors.RequestTimeoutError: 408,
    errors.UnsupportedMediaError: 415,
    errors.UnsupportedTransferCodingError: 501,
    errors.AuthenticationError: 401,
    errors.PermissionDeniedError: 403,
    errors.OverloadError: 429,
    errors.EngineUnavailableError: 503,
    errors.ModelLoadingError: 503,
    errors.EngineMemoryError: 503,
    errors.DeadlineExceededError: 504,
    errors.SourceForbiddenError: 400,
    errors.SourceUnavailableError: 503,
    errors.ExportUnavailableError: 503,
    errors.ExportTimeoutError: 504,
    errors.MachineError: 503,
    errors.DiskFullError: 507,
    IngrainError: 500,
}
"""Status by error class; other classes have the status of their nearest base class in this table."""

_RETRY_AFTER_S = 10.0


def status_of(error: IngrainError) -> int:
    """Return the HTTP status of an error."""
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)


def error_response(error: IngrainError, request_id: str, dialect: Dialect) -> Response:
    """Return the response to an error: the dialect's body, ``Retry-After`` and the request id."""
    status = dialect.status(error, status_of(error))
    response = Response(orjson.dumps(dialect.error_body(error, status, request_id)), status)
    retry_after_s = error.retry_after_s
    if retry_after_s is None and response.status == 503:
        retry_after_s = _RETRY_AFTER_S
    if retry_after_s is not None:
        response.headers["retry-after"] = str(max(1, math.ceil(retry_after_s)))
    response.headers["x-request-id"] = request_id
    if isinstance(error, errors.AuthenticationError):
        response.headers["www-authenticate"] = "Bearer"
    if isinstance(error, errors.UnsupportedMediaError):
        response.headers["accept-encoding"] = "gzip"
    return response
