"""Ingrain: embeddings of any sentence-transformers, OpenCLIP or timm model, served through Triton.

``ingrain.Client`` and ``ingrain.AsyncClient`` talk to a server, and raise its errors as the classes below.
"""

import importlib
from typing import TYPE_CHECKING

from ingrain.errors import (
    AnswerTimeoutError as AnswerTimeoutError,
    AuthenticationError as AuthenticationError,
    BundleError as BundleError,
    ClientError as ClientError,
    DamagedEntryError as DamagedEntryError,
    DeadlineExceededError as DeadlineExceededError,
    DiskFullError as DiskFullError,
    DiskUnusableError as DiskUnusableError,
    EngineError as EngineError,
    EngineMemoryError as EngineMemoryError,
    EngineSetupError as EngineSetupError,
    EngineUnavailableError as EngineUnavailableError,
    ExpiredKeyError as ExpiredKeyError,
    ExportCrashedError as ExportCrashedError,
    ExportError as ExportError,
    ExportKilledError as ExportKilledError,
    ExportTimeoutError as ExportTimeoutError,
    ExportUnavailableError as ExportUnavailableError,
    FetchFailedError as FetchFailedError,
    FetchRefusedError as FetchRefusedError,
    ForeignSiteError as ForeignSiteError,
    HeadersTooLargeError as HeadersTooLargeError,
    ImageError as ImageError,
    InferenceError as InferenceError,
    IngrainError as IngrainError,
    InvalidRequestError as InvalidRequestError,
    MachineError as MachineError,
    MachineLimitError as MachineLimitError,
    MethodNotAllowedError as MethodNotAllowedError,
    ModalityError as ModalityError,
    ModelConflictError as ModelConflictError,
    ModelLimitError as ModelLimitError,
    ModelLoadingError as ModelLoadingError,
    ModelMemoryError as ModelMemoryError,
    ModelNotFoundError as ModelNotFoundError,
    ModelNotLoadedError as ModelNotLoadedError,
    NewerFormatError as NewerFormatError,
    NotFiniteError as NotFiniteError,
    NotFoundError as NotFoundError,
    OperationEndedError as OperationEndedError,
    OutOfMemoryError as OutOfMemoryError,
    OverloadError as OverloadError,
    PermissionDeniedError as PermissionDeniedError,
    QueueFullError as QueueFullError,
    RateLimitError as RateLimitError,
    RepositoryError as RepositoryError,
    RequestError as RequestError,
    RequestTimeoutError as RequestTimeoutError,
    RouteNotFoundError as RouteNotFoundError,
    ServerUnreachableError as ServerUnreachableError,
    SettingsError as SettingsError,
    SourceError as SourceError,
    SourceForbiddenError as SourceForbiddenError,
    SourceNotFoundError as SourceNotFoundError,
    SourceUnavailableError as SourceUnavailableError,
    StorageRefusedError as StorageRefusedError,
    StorageUnavailableError as StorageUnavailableError,
    TextTooLongError as TextTooLongError,
    TokenizerError as TokenizerError,
    TooLargeError as TooLargeError,
    TuningError as TuningError,
    TuningInProgressError as TuningInProgressError,
    UnexpectedAnswerError as UnexpectedAnswerError,
    UnsupportedMediaError as UnsupportedMediaError,
    UnsupportedModelError as UnsupportedModelError,
    UnsupportedTransferCodingError as UnsupportedTransferCodingError,
    VerificationError as VerificationError,
)

if TYPE_CHECKING:
    from ingrain.client import (
        AsyncClient as AsyncClient,
        AsyncModel as AsyncModel,
        BothEmbeddings as BothEmbeddings,
        Client as Client,
        Embeddings as Embeddings,
        Model as Model,
        MultiVectors as MultiVectors,
        Probabilities as Probabilities,
        PyCURLEngine as PyCURLEngine,
        RetryPolicy as RetryPolicy,
        TextEmbeddings as TextEmbeddings,
        ZeroShotProbabilities as ZeroShotProbabilities,
    )

__version__ = "1.0.0"

_OF_THE_CLIENT = (
    "AsyncClient",
    "AsyncModel",
    "BothEmbeddings",
    "Client",
    "Embeddings",
    "Model",
    "MultiVectors",
    "Probabilities",
    "PyCURLEngine",
    "RetryPolicy",
    "TextEmbeddings",
    "ZeroShotProbabilities",
)


def __getattr__(name: str) -> object:
    """Import the client when it is first asked for: a server, or `ingrain --help`, does without."""
    if name in _OF_THE_CLIENT:
        return getattr(importlib.import_module("ingrain.client"), name)
    raise AttributeError(f"module 'ingrain' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_OF_THE_CLIENT})
