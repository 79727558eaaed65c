"""Bodies of requests and answers; these types are the schema of the API."""

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
    PrecisionField,
    Pretrained,
    Prompt,
    PromptName,
    Revision,
    TaskField,
    Texts,
    TokenCounts,
    Truncate,
)
from ingrain.api.image_steps import ImageStep
from ingrain.vocabulary import Library, Precision


class Request(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Base of native request bodies: camelCase (snake_case is taken too), null means not given, nothing unknown."""


class Keyed(msgspec.Struct, frozen=True):
    """What also answers to the wire's names: ``answer.processing_time_ms`` and ``answer["processingTimeMs"]``."""

    def __getitem__(self, key: str) -> Any:
        """Return a field by its name on the wire."""
        try:
            return getattr(self, self.__struct_fields__[self.__struct_encode_fields__.index(key)])
        except ValueError:
            raise KeyError(key) from None

    def __contains__(self, key: object) -> bool:
        return key in self.__struct_encode_fields__

    def __iter__(self) -> Iterator[str]:
        return iter(self.__struct_encode_fields__)

    def keys(self) -> tuple[str, ...]:
        """Return the wire's names; with them ``dict(answer)`` works."""
        return self.__struct_encode_fields__

    def get(self, key: str, default: Any = None) -> Any:
        """Return a field by its name on the wire, or ``default`` where there is none of that name."""
        try:
            return self[key]
        except KeyError:
            return default


class Answer(Keyed, frozen=True, kw_only=True, rename="camel"):
    """Base of answers."""


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
    library: LibraryField = None
    pretrained: Pretrained = None


class EmbedImageRequest(Request, frozen=True, kw_only=True):
    """Pictures to embed."""

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
    """Pictures to classify."""

    name: Name
    image: Images
    image_download_headers: Headers = None
    library: LibraryField = None
    pretrained: Pretrained = None


class ZeroShotRequest(Request, frozen=True, kw_only=True):
    """Pictures to classify by labels of one's own."""

    name: Name
    image: Images
    labels: Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(min_length=1, description="What to choose among.")]
    templates: Annotated[
        Annotated[list[Annotated[str, Meta(pattern=r"\{\}")]], Meta(min_length=1)] | None,
        Meta(description="Sentences with `{}` for the label, whose vectors are averaged; the label itself if none."),
    ] = None
    image_download_headers: Headers = None
    library: LibraryField = None
    pretrained: Pretrained = None


class EmbedRequest(Request, frozen=True, kw_only=True):
    """Texts and pictures to embed side by side."""

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


class ModelRequest(Request, frozen=True, kw_only=True):
    """A model to unload or delete, or whose tuning is to be forgotten."""

    name: Name
    library: LibraryField = None
    pretrained: Pretrained = None


class NamedModelRequest(Request, frozen=True, kw_only=True):
    """A model to load by a first-generation route, which knows the library by itself."""

    name: Name
    library: LibraryField = None
    pretrained: Pretrained = None


class MessageAnswer(Answer, frozen=True, kw_only=True):
    """A sentence."""

    message: str


class ReadyAnswer(Answer, frozen=True, kw_only=True):
    """Whether everything that should be served is, and if not, why."""

    ready: bool
    reasons: list[str]


Vectors = Annotated[
    list[list[float] | str],
    Meta(description="One vector an item, in order: numbers, or base64 of them where `encodingFormat` says so."),
]
Counts = Annotated[list[int], Meta(description="Tokens of each text, special ones and prompt included; if asked for.")]
Cuts = Annotated[list[bool], Meta(description="Whether each text was longer than the model takes; if asked for.")]


class EmbeddingsAnswer(Answer, frozen=True, kw_only=True):
    """Vectors in the order of the items."""

    embeddings: Vectors
    token_counts: Counts | msgspec.UnsetType = msgspec.UNSET
    truncated: Cuts | msgspec.UnsetType = msgspec.UNSET
    processing_time_ms: float


class EmbedAnswer(Answer, frozen=True, kw_only=True):
    """Vectors by modality; null where none were asked for."""

    text_embeddings: Vectors | None
    image_embeddings: Vectors | None
    token_counts: Counts | msgspec.UnsetType = msgspec.UNSET
    truncated: Cuts | msgspec.UnsetType = msgspec.UNSET
    processing_time_ms: float


class LoadedModel(Answer, frozen=True, kw_only=True, omit_defaults=True):
    """A loaded model; `precision` is there where it is not fp32."""

    name: str
    library: Library
    precision: Precision = "fp32"


class LoadedModelsAnswer(Answer, frozen=True, kw_only=True):
    """The loaded models."""

    models: list[LoadedModel]


class RepositoryModel(Answer, frozen=True, kw_only=True, omit_defaults=True):
    """A model of the repository and its state in Triton's words.

    ``reason`` says why it is not ready, why it was not made in another precision, or that it is being tuned;
    ``precision`` is there where it is not fp32.
    """

    name: str
    library: Library | None
    state: str
    pretrained: str | None = None
    precision: Precision = "fp32"
    reason: str | None = None


class RepositoryModelsAnswer(Answer, frozen=True, kw_only=True):
    """The models of the repository."""

    models: list[RepositoryModel]


class ProbabilitiesAnswer(Answer, frozen=True, kw_only=True):
    """A row of probabilities for each picture, in the order of the labels."""

    probabilities: list[list[float]]
    processing_time_ms: float


class ZeroShotAnswer(Answer, frozen=True, kw_only=True):
    """A row of probabilities for each picture, in the order of the labels given."""

    labels: list[str]
    probabilities: list[list[float]]
    processing_time_ms: float


class LabelsAnswer(Answer, frozen=True, kw_only=True):
    """Names of a classifier's classes."""

    labels: list[str]


class ImageGeometryAnswer(Answer, frozen=True, kw_only=True):
    """How a model's pictures are prepared: the steps in their order, and ``(height, width)`` in the end."""

    size: list[int]
    steps: list[ImageStep]


class EmbeddingSizeAnswer(Answer, frozen=True, kw_only=True):
    """Width of a model's vectors."""

    embedding_size: int


class ErrorDetail(Answer, frozen=True, kw_only=True):
    """What went wrong; further facts by error."""

    code: str
    message: str
    param: str | None
    request_id: str


class ErrorAnswer(Answer, frozen=True, kw_only=True):
    """Body of every error."""

    message: str
    error: ErrorDetail
