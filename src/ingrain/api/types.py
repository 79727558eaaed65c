"""Request and response bodies of Ingrain's own API; the OpenAPI schema is generated from them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ingrain.api.fields import (
    EncodingFormat,
    Headers,
    Images,
    InputType,
    LibraryField,
    Name,
    NDims,
    Normalize,
    NumClasses,
    OptionalImages,
    OptionalTexts,
    OutputDtype,
    Outputs,
    PrecisionField,
    Pretrained,
    Prompt,
    PromptName,
    Revision,
    TaskField,
    Texts,
    TokenCounts,
    Truncate,
    Wait,
)
from ingrain.api.image_steps import ImageStep
from ingrain.vocabulary import Library, Precision, Task


class Request(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Base of request bodies. Names in camelCase or snake_case; null means not given; unknown fields are refused."""


class Keyed(msgspec.Struct, frozen=True):
    """A mapping by wire names, too: ``answer.processing_time_ms`` is ``answer["processingTimeMs"]``."""

    def __getitem__(self, key: str) -> Any:
        """Return a field by its wire name."""
        try:
            return getattr(self, self.__struct_fields__[self.__struct_encode_fields__.index(key)])
        except ValueError:
            raise KeyError(key) from None

    def __contains__(self, key: object) -> bool:
        return key in self.__struct_encode_fields__

    def __iter__(self) -> Iterator[str]:
        return iter(self.__struct_encode_fields__)

    def __len__(self) -> int:
        return len(self.__struct_encode_fields__)

    def keys(self) -> tuple[str, ...]:
        """Return the wire names; ``dict(answer)`` needs this method."""
        return self.__struct_encode_fields__

    def items(self) -> Iterator[tuple[str, Any]]:
        """Yield wire names and values."""
        return zip(self.keys(), msgspec.structs.astuple(self), strict=True)

    def get(self, key: str, default: Any = None) -> Any:
        """Return a field by its wire name, or ``default`` if there is no such field."""
        try:
            return self[key]
        except KeyError:
            return default


class Answer(Keyed, frozen=True, kw_only=True, rename="camel"):
    """Base of response bodies."""


class EmbedTextRequest(Request, frozen=True, kw_only=True):
    """Texts to embed."""

    name: Name
    text: Texts
    normalize: Normalize = None
    n_dims: NDims = None
    prompt: Prompt = None
    prompt_name: PromptName = None
    input_type: InputType = None
    truncate: Truncate = None
    token_counts: TokenCounts = None
    output_dtype: OutputDtype = None
    encoding_format: EncodingFormat = None
    outputs: Outputs = None
    library: LibraryField = None
    pretrained: Pretrained = None


class EmbedImageRequest(Request, frozen=True, kw_only=True):
    """Images to embed."""

    name: Name
    image: Images
    normalize: Normalize = None
    n_dims: NDims = None
    output_dtype: OutputDtype = None
    encoding_format: EncodingFormat = None
    image_download_headers: Headers = None
    library: LibraryField = None
    pretrained: Pretrained = None


class ClassifyImageRequest(Request, frozen=True, kw_only=True):
    """Images to classify."""

    name: Name
    image: Images
    image_download_headers: Headers = None
    library: LibraryField = None
    pretrained: Pretrained = None


class ZeroShotRequest(Request, frozen=True, kw_only=True):
    """Images to classify with the labels of the request."""

    name: Name
    image: Images
    labels: Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(min_length=1, description="Candidate labels.")]
    templates: Annotated[
        Annotated[list[Annotated[str, Meta(pattern=r"\{\}")]], Meta(min_length=1)] | None,
        Meta(description="Sentences with `{}` for the label; their vectors are averaged. Not given: the label alone."),
    ] = None
    image_download_headers: Headers = None
    library: LibraryField = None
    pretrained: Pretrained = None


class EmbedRequest(Request, frozen=True, kw_only=True):
    """Texts and images to embed."""

    name: Name
    text: OptionalTexts = None
    image: OptionalImages = None
    image_download_headers: Headers = None
    normalize: Normalize = None
    n_dims: NDims = None
    prompt: Prompt = None
    prompt_name: PromptName = None
    input_type: InputType = None
    truncate: Truncate = None
    token_counts: TokenCounts = None
    output_dtype: OutputDtype = None
    encoding_format: EncodingFormat = None
    library: LibraryField = None
    pretrained: Pretrained = None


class LoadModelRequest(Request, frozen=True, kw_only=True):
    """A model to load."""

    name: Name
    library: Annotated[Library, Meta(description="Source library.")]
    pretrained: Pretrained = None
    revision: Revision = None
    precision: PrecisionField = None
    task: TaskField = None
    num_classes: NumClasses = None
    pin: Annotated[
        bool | None,
        Meta(description="True to keep the model loaded until a command unloads it; false to end that."),
    ] = None
    keep_alive: Annotated[
        float | str | None,
        Meta(
            description="Unload the model when it was not used for this time: seconds, or a duration such as `10m`; "
            "negative for never. Not given: INGRAIN_KEEP_ALIVE."
        ),
    ] = None
    wait: Wait = None


class ModelRequest(Request, frozen=True, kw_only=True):
    """A model to unload or delete, or whose tuning is to be deleted."""

    name: Name
    library: LibraryField = None
    pretrained: Pretrained = None


class NamedModelRequest(ModelRequest, frozen=True, kw_only=True):
    """A model to load by a first-generation route, whose path determines the library."""


class MessageAnswer(Answer, frozen=True, kw_only=True):
    """A message."""

    message: str


Vectors = Annotated[
    list[list[float] | str],
    Meta(description="One vector for each item, in order: numbers, or base64 if `encodingFormat` is `base64`."),
]
Counts = Annotated[
    list[int], Meta(description="Number of tokens of each text, with special tokens and prompt; if requested.")
]
Cuts = Annotated[list[bool], Meta(description="Whether each text was truncated; if requested.")]


class EmbeddingsAnswer(Answer, frozen=True, kw_only=True):
    """Vectors in the order of the items."""

    embeddings: Vectors
    token_counts: Counts | msgspec.UnsetType = msgspec.UNSET
    truncated: Cuts | msgspec.UnsetType = msgspec.UNSET
    processing_time_ms: float


class EmbedAnswer(Answer, frozen=True, kw_only=True):
    """Vectors by modality; null for a modality that the request does not have."""

    text_embeddings: Vectors | None
    image_embeddings: Vectors | None
    token_counts: Counts | msgspec.UnsetType = msgspec.UNSET
    truncated: Cuts | msgspec.UnsetType = msgspec.UNSET
    processing_time_ms: float


class LoadedModel(Answer, frozen=True, kw_only=True, omit_defaults=True):
    """A loaded model.

    ``precision`` is omitted if it is fp32, ``task`` if it is embed, ``tasks`` if there is only one, and ``pinned`` if
    it is false. ``memoryBytes`` is the memory that the model takes, measured where the engine can, else estimated.
    """

    name: str
    library: Library
    precision: Precision = "fp32"
    task: Task = "embed"
    tasks: list[Task] = []
    memory_bytes: int | None = None
    pinned: bool = False


class LoadedModelsAnswer(Answer, frozen=True, kw_only=True):
    """The loaded models."""

    models: list[LoadedModel]


class RepositoryModel(Answer, frozen=True, kw_only=True, omit_defaults=True):
    """A model of the repository and its state, named as in Triton.

    ``reason`` says why the model is not ready, why it was not converted to another precision, or that it is being
    tuned. ``precision`` is omitted if it is fp32, ``task`` if it is embed, ``tasks`` if there is only one, and
    ``memoryBytes`` unless the model is loaded.
    """

    name: str
    library: Library | None
    state: str
    pretrained: str | None = None
    precision: Precision = "fp32"
    task: Task = "embed"
    tasks: list[Task] = []
    reason: str | None = None
    memory_bytes: int | None = None
    pinned: bool = False


class ReadyAnswer(Answer, frozen=True, kw_only=True):
    """Whether the server, or the model that was asked for, is ready; the reasons if not; and the states of models."""

    ready: bool
    reasons: list[str]
    models: list[RepositoryModel]


class RepositoryModelsAnswer(Answer, frozen=True, kw_only=True):
    """The models of the repository."""

    models: list[RepositoryModel]


class ProbabilitiesAnswer(Answer, frozen=True, kw_only=True):
    """A row of probabilities for each image, in the order of the labels."""

    probabilities: list[list[float]]
    processing_time_ms: float


class ZeroShotAnswer(Answer, frozen=True, kw_only=True):
    """A row of probabilities for each image, in the order of the request's labels."""

    labels: list[str]
    probabilities: list[list[float]]
    processing_time_ms: float


class LabelsAnswer(Answer, frozen=True, kw_only=True):
    """Labels of a classifier."""

    labels: list[str]


class ImageGeometryAnswer(Answer, frozen=True, kw_only=True):
    """Preprocessing of a model's images: the steps in order, and the resulting ``(height, width)``."""

    size: list[int]
    steps: list[ImageStep]


class EmbeddingSizeAnswer(Answer, frozen=True, kw_only=True):
    """Number of dimensions of a model's vectors."""

    embedding_size: int


class ErrorDetail(Answer, frozen=True, kw_only=True):
    """Details of an error; some errors have further fields."""

    code: str
    message: str
    param: str | None
    request_id: str


class ErrorAnswer(Answer, frozen=True, kw_only=True):
    """Body of every error response."""

    message: str
    error: ErrorDetail
