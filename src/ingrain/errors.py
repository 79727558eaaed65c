"""Every error of Ingrain, split by who can act on it.

::

    IngrainError
    ├── RequestError                    the caller: change the request
    │   ├── InvalidRequestError         malformed, wrong type, wrong value
    │   │   ├── UnsupportedModelError   a model that cannot be converted, with the reason
    │   │   ├── ModelConflictError      the name is taken by another revision, or is ambiguous
    │   │   ├── ModelLimitError         MAX_LOADED_MODELS is reached
    │   │   ├── ModalityError           the model has no such tower
    │   │   ├── TextTooLongError        a text that must not be cut is longer than the model takes
    │   │   ├── ImageError              a picture that cannot be read
    │   │   ├── FetchRefusedError       a URL that may not be fetched
    │   │   └── FetchFailedError        a URL whose host did not deliver
    │   ├── NotFoundError
    │   │   ├── RouteNotFoundError
    │   │   ├── ModelNotLoadedError
    │   │   ├── ModelNotFoundError      not in the repository
    │   │   └── SourceNotFoundError     the hub or the folder does not have it
    │   ├── MethodNotAllowedError
    │   ├── TuningInProgressError       the model is being tuned already
    │   ├── TooLargeError               body, item count, text or image over a limit
    │   │   └── HeadersTooLargeError
    │   ├── AuthenticationError
    │   └── PermissionDeniedError
    ├── OverloadError                   the caller, later
    │   └── QueueFullError
    ├── EngineError                     the operator; the caller may try again
    │   ├── EngineUnavailableError      unreachable, restarting
    │   ├── ModelLoadingError           known, but not ready yet
    │   ├── DeadlineExceededError
    │   ├── InferenceError              the engine refused or broke
    │   ├── NotFiniteError              the graph answered NaN or infinity
    │   └── TuningError                 a tuning was ended; the model is as it was
    ├── SettingsError
    ├── SourceError
    │   ├── SourceForbiddenError        gated or private: a token is needed
    │   └── SourceUnavailableError      hub unreachable, download broken
    ├── ExportError
    │   ├── ExportUnavailableError      this installation cannot export
    │   ├── ExportTimeoutError
    │   ├── ExportCrashedError
    │   └── VerificationError           the graph differs from its source
    ├── MachineError                    the operator: the machine lacks something; models are tried again later
    │   ├── DiskFullError
    │   ├── DiskUnusableError           read-only, not permitted, or broken
    │   ├── OutOfMemoryError
    │   ├── MachineLimitError           too many open files, processes or threads
    │   └── ExportKilledError           the export process was killed from outside, most often for its memory
    ├── RepositoryError
    │   ├── DamagedEntryError
    │   └── NewerFormatError
    └── ClientError                     raised by ``ingrain.Client``, never by the server
        ├── ServerUnreachableError      nobody listens there, or the connection broke each time
        │   └── AnswerTimeoutError      the server took longer than the client waits
        └── UnexpectedAnswerError       what answered is not Ingrain, or not one that this client knows

The HTTP status of each class is a table in ``server/errors.py``, looked up through the MRO. Messages name what, the
value, the limit and what to do; they never hold a path outside the model repository, a secret, a user's text or the
text of another library's exception.
"""

from __future__ import annotations

from typing import ClassVar


class IngrainError(Exception):
    """Base of all errors raised by Ingrain.

    Args:
        message: One sentence for the person who can act.
        param: Path of the field at fault, as the caller wrote it (``text[3]``), if one is.
        retry_after_s: Seconds after which the same call may succeed, if known.
        facts: Further facts for the error object, JSON types only, camelCase keys.
    """

    code: ClassVar[str] = "internal_error"
    status: int | None = None
    """HTTP status of the answer that brought the error; only where a client raises it."""
    request_id: str | None = None
    """``X-Request-Id`` of the request that failed, as the server's log has it; only where a client raises it."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        facts: dict[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.facts = facts or {}


class RequestError(IngrainError):
    """The request is at fault; the caller can mend it."""

    code = "bad_request"


class InvalidRequestError(RequestError):
    """The request is malformed, or a field has a wrong type or value."""

    code = "invalid_request"


class UnsupportedModelError(InvalidRequestError):
    """The named model cannot be converted; the message says why."""

    code = "unsupported_model"


class ModelConflictError(InvalidRequestError):
    """The name is ambiguous, or already stands for another revision or library."""

    code = "model_conflict"


class ModelLimitError(InvalidRequestError):
    """As many models are loaded as ``MAX_LOADED_MODELS`` allows."""

    code = "model_limit_reached"


class ModalityError(InvalidRequestError):
    """The model lacks the modality asked for."""

    code = "unsupported_modality"


class TextTooLongError(InvalidRequestError):
    """A text has more tokens than the model takes, and the request forbids to cut it."""

    code = "text_too_long"


class ImageError(InvalidRequestError):
    """A picture is of no known format, damaged, or cannot be prepared for the model."""

    code = "invalid_image"


class FetchRefusedError(InvalidRequestError):
    """A URL is malformed, or leads to where this server does not fetch from."""

    code = "fetch_refused"


class FetchFailedError(InvalidRequestError):
    """The host that a URL names could not be reached, was too slow, or answered with an error."""

    code = "fetch_failed"


class NotFoundError(RequestError):
    """What the request names does not exist."""

    code = "not_found"


class RouteNotFoundError(NotFoundError):
    """No such route."""

    code = "route_not_found"


class ModelNotLoadedError(NotFoundError):
    """The model is not loaded."""

    code = "model_not_loaded"


class ModelNotFoundError(NotFoundError):
    """The model is not in the model repository."""

    code = "model_not_found"


class SourceNotFoundError(NotFoundError):
    """Neither the hub nor the directory of local models has this name or revision."""

    code = "source_not_found"


class MethodNotAllowedError(RequestError):
    """The route exists, but not with this HTTP method."""

    code = "method_not_allowed"


class TuningInProgressError(RequestError):
    """The model is being tuned; it has to end before the model can be tuned again, or its tuning be reset."""

    code = "tuning_in_progress"


class TooLargeError(RequestError):
    """A body, a number of items, a text or an image is over its limit."""

    code = "too_large"


class HeadersTooLargeError(TooLargeError):
    """The request line and headers are over the limit."""

    code = "headers_too_large"


class AuthenticationError(RequestError):
    """The key is missing or wrong."""

    code = "invalid_api_key"


class PermissionDeniedError(RequestError):
    """The key is right, but lacks the scope."""

    code = "permission_denied"


class OverloadError(IngrainError):
    """The server has more work than it may queue."""

    code = "overloaded"


class QueueFullError(OverloadError):
    """The queue of a graph, or of requests, is full."""

    code = "queue_full"


class EngineError(IngrainError):
    """The engine that runs the graphs is at fault."""

    code = "engine_error"


class EngineUnavailableError(EngineError):
    """The engine cannot be reached, or is being restarted."""

    code = "engine_unavailable"


class ModelLoadingError(EngineError):
    """The model is known, and is still being loaded."""

    code = "model_loading"


class DeadlineExceededError(EngineError):
    """The request's deadline passed before its vectors were ready."""

    code = "deadline_exceeded"


class InferenceError(EngineError):
    """The engine took the batch and failed on it."""

    code = "inference_failed"


class NotFiniteError(EngineError):
    """The graph answered NaN or infinity."""

    code = "not_finite"


class TuningError(EngineError):
    """A tuning could not be finished; the model is executed as it was before."""

    code = "tuning_failed"


class SettingsError(IngrainError):
    """A setting has a value that cannot be used; the message names variable and flag."""

    code = "invalid_setting"


class SourceError(IngrainError):
    """The place a model comes from is at fault."""

    code = "source_error"


class SourceForbiddenError(SourceError):
    """The hub wants a token, or the token given may not read this model."""

    code = "source_forbidden"


class SourceUnavailableError(SourceError):
    """The hub cannot be reached, or the download broke off."""

    code = "source_unavailable"


class ExportError(IngrainError):
    """Turning a source into graphs failed."""

    code = "export_failed"


class ExportUnavailableError(ExportError):
    """This installation has no exporter (``ingrain[export]``)."""

    code = "export_unavailable"


class ExportTimeoutError(ExportError):
    """The export took longer than its deadline."""

    code = "export_timeout"


class ExportCrashedError(ExportError):
    """The export process died."""

    code = "export_crashed"


class VerificationError(ExportError):
    """The graph's numbers differ from the source's by more than the tolerance."""

    code = "verification_failed"


class MachineError(IngrainError):
    """The machine lacks what the work needs; no model and no request is at fault."""

    code = "machine_error"


class DiskFullError(MachineError):
    """A disk is full, over its quota, or a file may not grow further."""

    code = "disk_full"


class DiskUnusableError(MachineError):
    """A disk is read-only or broken, or its files may not be read or written."""

    code = "disk_unusable"


class OutOfMemoryError(MachineError):
    """There is too little memory."""

    code = "out_of_memory"


class MachineLimitError(MachineError):
    """The system allows no further open file, process or thread."""

    code = "machine_limit"


class ExportKilledError(MachineError):
    """Something killed the export process: the system, most often, for want of memory."""

    code = "export_killed"


class RepositoryError(IngrainError):
    """An entry of the model repository is at fault."""

    code = "repository_error"


class DamagedEntryError(RepositoryError):
    """Files of an entry are missing or do not match their checksums."""

    code = "damaged_entry"


class NewerFormatError(RepositoryError):
    """The entry was written by a newer Ingrain."""

    code = "newer_format"


class ClientError(IngrainError):
    """The client got no answer that it can use."""

    code = "client_error"


class ServerUnreachableError(ClientError):
    """Nobody listens at the address, or the connection broke each time it was tried."""

    code = "server_unreachable"


class AnswerTimeoutError(ServerUnreachableError):
    """The server did not answer within the time that the client waits."""

    code = "answer_timeout"


class UnexpectedAnswerError(ClientError):
    """The answer cannot be read: another program's, or that of an Ingrain too old or too new for this client."""

    code = "unexpected_answer"


def error_class(code: str) -> type[IngrainError] | None:
    """Return the class with this code, or None where there is none."""
    return _by_code().get(code)


def _by_code() -> dict[str, type[IngrainError]]:
    found: dict[str, type[IngrainError]] = {}
    waiting: list[type[IngrainError]] = [IngrainError]
    while waiting:
        cls = waiting.pop()
        found.setdefault(cls.code, cls)
        waiting += cls.__subclasses__()
    return found
