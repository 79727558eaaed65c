"""Errors of the HTTP server itself, for requests that do not reach the application."""

from __future__ import annotations

from ingrain.errors import (
    EngineUnavailableError,
    HeadersTooLargeError,
    InvalidRequestError,
    RequestTimeoutError,
    TooLargeError,
    UnsupportedTransferCodingError,
)
from ingrain.server.http.application import BodyLimit

_RESTART_S = 5.0


def malformed() -> InvalidRequestError:
    """Build the error for bytes that are not a valid request."""
    return InvalidRequestError("The request is not valid HTTP/1.1.")


def headers_too_large(max_bytes: int, max_headers: int) -> HeadersTooLargeError:
    """Build the error for too many or too long headers."""
    return HeadersTooLargeError(
        f"The request line and headers are longer than {max_bytes} bytes (INGRAIN_MAX_HEADER_BYTES), or are more than "
        f"{max_headers}.",
        facts={"limit": max_bytes},
    )


def body_too_large(limit: BodyLimit) -> TooLargeError:
    """Build the error for a body above the size limit."""
    return TooLargeError(
        f"The body is larger than {limit.max_bytes} bytes, the limit of this server ({limit.setting}).",
        facts={"limit": limit.max_bytes},
    )


def too_slow(timeout_s: float) -> RequestTimeoutError:
    """Build the error for a request that does not arrive in time."""
    return RequestTimeoutError(f"The request did not arrive within {timeout_s:g} s (INGRAIN_REQUEST_TIMEOUT_S).")


def shutting_down() -> EngineUnavailableError:
    """Build the error for a request that the server cannot finish before it ends."""
    return EngineUnavailableError("The server is shutting down.", retry_after_s=_RESTART_S)


def host_missing() -> InvalidRequestError:
    """Build the error for an HTTP/1.1 request without a valid ``Host`` header."""
    return InvalidRequestError("The request needs one Host header with a host name or address.", param="Host")


def unknown_transfer_coding() -> UnsupportedTransferCodingError:
    """Build the error for a body in a transfer coding other than chunked."""
    return UnsupportedTransferCodingError(
        "Transfer-Encoding must be chunked; this server takes no other transfer coding.", param="Transfer-Encoding"
    )
