"""All error classes of Ingrain, split by who can act on them.

::

    IngrainError
    ├── RequestError                    the caller: change the request
    │   ├── InvalidRequestError
    │   │   ├── UnsupportedModelError, ModelConflictError, ModalityError
    │   │   ├── ModelLimitError
    │   │   │   └── ModelMemoryError
    │   │   └── TextTooLongError, ImageError, FetchRefusedError, FetchFailedError
    │   ├── NotFoundError
    │   │   ├── RouteNotFoundError
    │   │   └── ModelNotLoadedError, ModelNotFoundError, SourceNotFoundError
    │   ├── MethodNotAllowedError, TuningInProgressError, OperationEndedError
    │   ├── TooLargeError
    │   │   └── HeadersTooLargeError
    │   ├── UnsupportedMediaError, RequestTimeoutError
    │   ├── AuthenticationError
    │   │   └── ExpiredKeyError
    │   └── PermissionDeniedError
    │       └── ForeignSiteError
    ├── UnsupportedTransferCodingError  the caller: send the body in another way
    ├── OverloadError                   the caller: try again later
    │   └── QueueFullError, RateLimitError
    ├── EngineError                     the operator; the caller may try again
    │   ├── EngineUnavailableError, ModelLoadingError, DeadlineExceededError
    │   │   └── EngineSetupError
    │   └── InferenceError, EngineMemoryError, NotFiniteError, TuningError
    ├── TokenizerError                  the operator, or the model's publisher
    ├── SettingsError                   the operator
    ├── SourceError                     the operator, or the model's publisher
    │   └── SourceForbiddenError, SourceUnavailableError
    ├── ExportError                     the operator
    │   └── ExportUnavailableError, ExportTimeoutError, ExportCrashedError, VerificationError
    ├── MachineError                    the operator: the machine lacks a resource; loading is retried later
    │   ├── DiskFullError, DiskUnusableError
    │   ├── StorageUnavailableError
    │   │   └── StorageRefusedError
    │   └── OutOfMemoryError, MachineLimitError, ExportKilledError
    ├── RepositoryError                 the operator
    │   └── DamagedEntryError, NewerFormatError, BundleError
    └── ClientError                     raised by ``ingrain.Client``, never by the server
        ├── ServerUnreachableError
        │   └── AnswerTimeoutError
        └── UnexpectedAnswerError

``server/plane/errors.py`` maps each class to its HTTP status, looked up through the MRO. A message names the object at
fault, the value, the limit and what to do. It never contains a path outside the model repository, a secret, a user's
text or the text of another library's exception.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ingrain.web_exception import IngrainWebException as IngrainWebException


class IngrainError(IngrainWebException):
    """Base of all errors raised by Ingrain.

    Each class has a stable ``code``, so that programs can tell errors apart.

    Args:
        message: One sentence for the person who can act.
        param: Path of the field at fault in the request (``text[3]``), if any.
        retry_after_s: Seconds after which the same call may succeed, if known.
        facts: Further members of the error object, JSON types only, camelCase keys.
    """

    code: ClassVar[str] = "internal_error"
    status: int | None = None
    """HTTP status of the response with the error; set only by the client."""
    request_id: str | None = None
    """``X-Request-Id`` of the failed request, for finding it in the server's log; set only by the client."""
    answer: Mapping[str, Any] | None = None
    """JSON of the response with the error; set only by the client."""

    @property
    def text(self) -> str:
        """``message``."""
        return self.message

    @property
    def status_code(self) -> int | None:
        """``status``."""
        return self.status

    @property
    def body(self) -> Mapping[str, Any]:
        """``answer``; for an error without a response, what the server would answer."""
        if self.answer is not None:
            return self.answer
        return {"message": self.message, "error": {"code": self.code, "param": self.param, **self.facts}}

    def __init_subclass__(cls, *, code: str | None = None) -> None:
        if code is not None:
            cls.code = code
        _CLASSES.setdefault(cls.code, cls)

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        facts: dict[str, object] | None = None,
    ) -> None:
        Exception.__init__(self, message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.facts = facts or {}


_CLASSES: dict[str, type[IngrainError]] = {IngrainError.code: IngrainError}
"""Every class by its code, extended as subclasses are defined."""


class RequestError(IngrainError, code="bad_request"):
    """The request is at fault; the caller can correct it."""


class InvalidRequestError(RequestError, code="invalid_request"):
    """The request is malformed, or a field has a wrong type or value."""


class UnsupportedModelError(InvalidRequestError, code="unsupported_model"):
    """The named model cannot be converted; the message says why."""


class ModelConflictError(InvalidRequestError, code="model_conflict"):
    """The name is ambiguous, or is taken by another revision or library."""


class ModelLimitError(InvalidRequestError, code="model_limit_reached"):
    """The number of loaded models has reached ``MAX_LOADED_MODELS``."""


class ModelMemoryError(ModelLimitError, code="model_memory_limit_reached"):
    """The model does not fit into ``INGRAIN_MODEL_MEMORY`` beside those that are loaded, or at all."""


class ModalityError(InvalidRequestError, code="unsupported_modality"):
    """The model does not support the requested modality."""


class TextTooLongError(InvalidRequestError, code="text_too_long"):
    """A text has more tokens than the model allows, and the request forbids truncation."""


class ImageError(InvalidRequestError, code="invalid_image"):
    """An image has an unknown format, is damaged, or cannot be preprocessed for the model."""


class FetchRefusedError(InvalidRequestError, code="fetch_refused"):
    """A URL is malformed, or this server may not fetch from its host."""


class FetchFailedError(InvalidRequestError, code="fetch_failed"):
    """A URL's host could not be reached, was too slow, or answered with an error."""


class NotFoundError(RequestError, code="not_found"):
    """The object that the request names does not exist."""


class RouteNotFoundError(NotFoundError, code="route_not_found"):
    """No such route."""


class ModelNotLoadedError(NotFoundError, code="model_not_loaded"):
    """The model is not loaded."""


class ModelNotFoundError(NotFoundError, code="model_not_found"):
    """The model is not in the model repository."""


class SourceNotFoundError(NotFoundError, code="source_not_found"):
    """Neither the hub nor the directory of local models has this name or revision."""


class MethodNotAllowedError(RequestError, code="method_not_allowed"):
    """The route exists, but not with this HTTP method."""


class TuningInProgressError(RequestError, code="tuning_in_progress"):
    """The model is being tuned; until that ends, it cannot be tuned again and its tuning cannot be reset."""


class OperationEndedError(RequestError, code="operation_ended"):
    """The operation has ended, so that it cannot be cancelled."""


class TooLargeError(RequestError, code="too_large"):
    """A body, a number of items, a text or an image is over its limit."""


class HeadersTooLargeError(TooLargeError, code="headers_too_large"):
    """The request line and headers are over the limit."""


class UnsupportedMediaError(RequestError, code="unsupported_media"):
    """The body has a ``Content-Type`` or ``Content-Encoding`` that the route does not take."""


class RequestTimeoutError(RequestError, code="request_timeout"):
    """The request did not arrive in time."""


class AuthenticationError(RequestError, code="invalid_api_key"):
    """The key is missing or wrong."""


class ExpiredKeyError(AuthenticationError, code="expired_api_key"):
    """The key was valid once."""


class PermissionDeniedError(RequestError, code="permission_denied"):
    """The key is valid, but lacks the scope, or may not use the model."""


class ForeignSiteError(PermissionDeniedError, code="foreign_site"):
    """A browser sent the request for a page of another site, or under a host name that this server does not have."""


class UnsupportedTransferCodingError(IngrainError, code="unsupported_transfer_coding"):
    """The body has a ``Transfer-Encoding`` other than ``chunked``."""


class OverloadError(IngrainError, code="overloaded"):
    """The server has more work than it may queue."""


class QueueFullError(OverloadError, code="queue_full"):
    """The queue of a graph, or of requests, is full."""


class RateLimitError(OverloadError, code="rate_limit_exceeded"):
    """The key has taken as many requests or tokens as it may in a minute."""


class EngineError(IngrainError, code="engine_error"):
    """The engine that runs the graphs is at fault.

    Attributes:
        item: Index, among the request's items in a queue, of the item at fault; None if it is not known.
    """

    item: int | None = None


class EngineUnavailableError(EngineError, code="engine_unavailable"):
    """The engine cannot be reached, or is being restarted."""


class EngineSetupError(EngineUnavailableError, code="engine_setup"):
    """The engine answers, but the options it was started with do not let it serve; the message says what to change."""


class ModelLoadingError(EngineError, code="model_loading"):
    """The model is still being loaded."""


class DeadlineExceededError(EngineError, code="deadline_exceeded"):
    """The request's deadline passed before its vectors were ready."""


class InferenceError(EngineError, code="inference_failed"):
    """The engine failed on the batch."""


class EngineMemoryError(EngineError, code="engine_out_of_memory"):
    """The engine has too little memory for the batch; a batch of one item is not divided further."""


class NotFiniteError(EngineError, code="not_finite"):
    """The graph's output contains NaN or infinity."""


class TuningError(EngineError, code="tuning_failed"):
    """A tuning failed; the model is executed as before."""


class TokenizerError(IngrainError, code="tokenizer_failed"):
    """The model's tokenizer failed on a text."""


class SettingsError(IngrainError, code="invalid_setting"):
    """A setting has an invalid value; the message names variable and flag."""


class SourceError(IngrainError, code="source_error"):
    """The source of a model (hub or folder) is at fault."""


class SourceForbiddenError(SourceError, code="source_forbidden"):
    """The hub requires a token, or the given token may not read this model."""


class SourceUnavailableError(SourceError, code="source_unavailable"):
    """The hub cannot be reached, or the download failed."""


class ExportError(IngrainError, code="export_failed"):
    """Turning a source into graphs failed."""


class ExportUnavailableError(ExportError, code="export_unavailable"):
    """This installation has no exporter (``ingrain[export]``)."""


class ExportTimeoutError(ExportError, code="export_timeout"):
    """The export took longer than its deadline."""


class ExportCrashedError(ExportError, code="export_crashed"):
    """The export process died."""


class VerificationError(ExportError, code="verification_failed"):
    """The graph's numbers differ from the source's by more than the tolerance."""


class MachineError(IngrainError, code="machine_error"):
    """The machine lacks disk, memory or another resource; no model and no request is at fault."""


class DiskFullError(MachineError, code="disk_full"):
    """A disk is full, over its quota, or a file may not grow further."""


class DiskUnusableError(MachineError, code="disk_unusable"):
    """A disk is read-only or broken, or its files may not be read or written."""


class StorageUnavailableError(MachineError, code="storage_unavailable"):
    """The object storage of the model repository cannot be reached, or failed."""


class StorageRefusedError(StorageUnavailableError, code="storage_refused"):
    """The object storage of the model repository denies access, or has no such bucket."""


class OutOfMemoryError(MachineError, code="out_of_memory"):
    """The machine has too little memory."""


class MachineLimitError(MachineError, code="machine_limit"):
    """The system allows no further open file, process or thread."""


class ExportKilledError(MachineError, code="export_killed"):
    """The export process was killed, usually by the system because memory ran out."""


class RepositoryError(IngrainError, code="repository_error"):
    """An entry of the model repository is at fault."""


class DamagedEntryError(RepositoryError, code="damaged_entry"):
    """Files of an entry are missing or do not match their checksums."""


class NewerFormatError(RepositoryError, code="newer_format"):
    """The entry was written by a newer Ingrain."""


class BundleError(RepositoryError, code="bundle_error"):
    """A bundle of models is damaged, tampered with, or not signed for the given key."""


class ClientError(IngrainError, code="client_error"):
    """The client got no usable response."""


class ServerUnreachableError(ClientError, code="server_unreachable"):
    """No server listens at the address, or the connection broke on each attempt."""


class AnswerTimeoutError(ServerUnreachableError, code="answer_timeout"):
    """The server did not answer within the client's timeout."""


class UnexpectedAnswerError(ClientError, code="unexpected_answer"):
    """The response cannot be read: another program sent it, or an Ingrain too old or too new for this client."""


def error_class(code: str) -> type[IngrainError] | None:
    """Return the class with this code, or None if there is none."""
    return _CLASSES.get(code)
