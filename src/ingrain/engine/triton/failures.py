"""Translates gRPC's status codes into Ingrain's errors."""

from __future__ import annotations

import logging

from grpc import StatusCode

from ingrain.engine.memory import is_memory_failure
from ingrain.engine.triton.connection import CallError
from ingrain.errors import (
    DeadlineExceededError,
    EngineMemoryError,
    EngineUnavailableError,
    InferenceError,
    IngrainError,
    ModelNotLoadedError,
)

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 2.0
_UNAVAILABLE = {
    StatusCode.UNAVAILABLE,
    # Triton does not answer these to what we ask: they come from gRPC or from a proxy.
    StatusCode.UNKNOWN,
    StatusCode.CANCELLED,
    StatusCode.ABORTED,
    StatusCode.DATA_LOSS,
    StatusCode.UNIMPLEMENTED,
    StatusCode.UNAUTHENTICATED,
    StatusCode.PERMISSION_DENIED,
}


def translate(error: CallError, what: str, timeout_s: float | None) -> IngrainError:
    """Return the error for a failed call.

    Args:
        error: What gRPC or Triton told. Triton's message is only for the operator, so it goes to the log.
        what: What was called, for the message.
        timeout_s: The call's timeout.
    """
    if error.code == StatusCode.UNAVAILABLE:
        return EngineUnavailableError("the engine does not answer, or is being restarted", retry_after_s=RETRY_AFTER_S)
    if error.code == StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceededError(f"{what}: no answer within {timeout_s:g} s")
    if error.code == StatusCode.NOT_FOUND:
        return ModelNotLoadedError(f"{what} is not loaded")
    if error.code != StatusCode.CANCELLED:  # by closing the connection
        logger.warning("Triton answered %s for %s: %s", error.code.name, what, error.details)
    if error.code in _UNAVAILABLE:
        return EngineUnavailableError("the engine cannot be reached", retry_after_s=RETRY_AFTER_S)
    # A proxy or Triton may limit the size of a message.
    if error.code == StatusCode.RESOURCE_EXHAUSTED or is_memory_failure(error.details):
        return EngineMemoryError(f"{what}: the engine has too little memory", retry_after_s=RETRY_AFTER_S)
    return InferenceError(f"{what}: the engine answered {error.code.name}", facts={"engineStatus": error.code.name})


def closed() -> EngineUnavailableError:
    """Return the error for a call after the engine was closed."""
    return EngineUnavailableError("the engine is closed", retry_after_s=RETRY_AFTER_S)
