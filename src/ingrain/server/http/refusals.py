"""Errors of the HTTP server itself, for requests that do not reach the application."""

from __future__ import annotations

from ingrain.errors import DeadlineExceededError, HeadersTooLargeError, InvalidRequestError, TooLargeError


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


def body_too_large(max_bytes: int) -> TooLargeError:
    """Build the error for a body above the size limit."""
    return TooLargeError(
        f"The body is larger than {max_bytes} bytes, the limit of this server (INGRAIN_MAX_BODY_BYTES).",
        facts={"limit": max_bytes},
    )


def too_slow(timeout_s: float) -> DeadlineExceededError:
    """Build the error for a request that does not arrive in time."""
    return DeadlineExceededError(f"The request did not arrive within {timeout_s:g} s (INGRAIN_REQUEST_TIMEOUT_S).")
