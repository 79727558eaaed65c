"""Bodies of requests and answers; these types are the schema of the API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ingrain.api.image_steps import ImageStep, Interpolation
from ingrain.vocabulary import Library, Precision, Task

Name = Annotated[str, Meta(min_length=1, max_length=512, description="What the source library calls the model.")]
Texts = Annotated[
    str | Annotated[list[str], Meta(min_length=1)],
    Meta(description="One text or several; the answer has one vector for each, in order."),
]
OptionalTexts = Annotated[Texts | None, Meta(description="One text or several; null for none.")]
Normalize = Annotated[bool | None, Meta(description="Bring each vector to unit length (default true).")]
NDims = Annotated[
    Annotated[int, Meta(ge=1)] | None,
    Meta(description="Keep only the first dimensions, before normalizing; all if not given."),
]
LibraryField = Annotated[Library | None, Meta(description="Source library, where several models share a name.")]
Word = Annotated[str, Meta(min_length=1, max_length=256)]
Pretrained = Annotated[Word | None, Meta(description="Weight tag of an OpenCLIP model.")]
Revision = Annotated[Word | None, Meta(description="Branch, tag or commit on the hub.")]
PrecisionField = Annotated[
    Precision | None,
    Meta(
        description="What the graphs compute in: `fp32`, `fp16` (on a GPU), `int8` or `int8-safe` (text encoders, on a "
        "CPU). A model that is stored in another precision is made anew. Not given: INGRAIN_PRECISION; without that, a "
        "stored model as it is and a new one in fp32."
    ),
]
TaskField = Annotated[
    Task | None,
    Meta(
        description="timm models: `embed` makes an embedder of a classifier's weights, as `timm.create_model(…, "
        "num_classes=0)`; `classify` wants a classifier. A model that is stored for the other task is made anew. Not "
        "given: a stored model as it is, and a new one as its weights are."
    ),
]
NumClasses = Annotated[Literal[0] | None, Meta(description="timm models: 0 is `task` `embed`, in timm's words.")]

Prompt = Annotated[
    str | None,
    Meta(description="Put before every text; empty for no prompt, not even the model's default."),
]
PromptName = Annotated[
    Word | None, Meta(description="Name of one of the model's own prompts, to put before every text (`query`).")
]
InputType = Annotated[
    Literal["query", "document"] | None,
    Meta(description="What the texts are, as `encode_query` and `encode_document` have it: their prompt, if any."),
]
Truncate = Annotated[
    bool | None, Meta(description="False to refuse a text that is longer than the model takes (default true: cut it).")
]
TokenCounts = Annotated[
    bool | None, Meta(description="True to be told each text's number of tokens, and whether it was cut.")
]
OutputDtype = Annotated[
    Literal["float", "int8", "uint8", "binary", "ubinary"] | None,
    Meta(
        description="What the numbers become, as sentence-transformers quantizes them (default float): bytes within "
        "ranges measured when the model was exported, or one bit a dimension, eight in a byte."
    ),
]
EncodingFormat = Annotated[
    Literal["float", "base64"] | None,
    Meta(description="How a vector is written in JSON (default float): numbers, or base64 of them, little-endian."),
]

Images = Annotated[
    str | Annotated[list[str], Meta(min_length=1)],
    Meta(
        description="One picture or several: http(s) URL, data URI or base64 of a JPEG, PNG, WebP, GIF, BMP, TIFF or "
        "AVIF file, or of HEIC with `ingrain[heic]`. As multipart/form-data, the files themselves in fields called "
        "`image`."
    ),
]
OptionalImages = Annotated[Images | None, Meta(description="Pictures as in /embed_image; null for none.")]
Headers = Annotated[
    dict[str, str] | None,
    Meta(
        description="Headers to fetch image URLs with: Authorization, Accept, Accept-Language, Cookie, Referer, "
        "User-Agent. They are never sent to another host than the URL's."
    ),
]


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


Url = Annotated[str, Meta(min_length=1, max_length=8192)]


class DownloadCustomModelRequest(Request, frozen=True, kw_only=True):
    """A model to fetch from URLs. Which fields apply is a matter of the library; any other is refused."""

    name: Annotated[
        Name,
        Meta(
            description="What the model will be called; without `configJsonUrl` also the architecture of OpenCLIP "
            "(`ViT-B-32`) or timm (`resnet50`) that the weights are for."
        ),
    ]
    library: Annotated[Library, Meta(description="Source library.")]
    safetensors_url: Annotated[Url, Meta(description="The weights, in one safetensors file.")]
    pretrained: Annotated[
        Word | None, Meta(description="OpenCLIP: a weight tag of your own, to be named again when the model is loaded.")
    ] = None
    config_json_url: Annotated[
        Url | None,
        Meta(
            description="sentence-transformers: the network's `config.json`. OpenCLIP: `open_clip_config.json`. "
            "timm: `config.json`."
        ),
    ] = None
    tokenizer_json_url: Annotated[Url | None, Meta(description="Text models: `tokenizer.json`.")] = None
    tokenizer_config_json_url: Annotated[Url | None, Meta(description="Text models: `tokenizer_config.json`.")] = None
    vocab_txt_url: Annotated[
        Url | None, Meta(description="Text models: `vocab.txt`, where there is no `tokenizer.json`.")
    ] = None
    special_tokens_map_json_url: Annotated[Url | None, Meta(description="Text models: `special_tokens_map.json`.")] = (
        None
    )
    pooling_config_json_url: Annotated[
        Url | None, Meta(description="sentence-transformers: `1_Pooling/config.json`; mean pooling if not given.")
    ] = None
    sentence_bert_config_json_url: Annotated[
        Url | None, Meta(description="sentence-transformers: `sentence_bert_config.json`.")
    ] = None
    modules_json_url: Annotated[
        Url | None,
        Meta(description="sentence-transformers: `modules.json`; a transformer and its pooling if not given."),
    ] = None
    mode: Annotated[Literal["RGB"] | None, Meta(description="OpenCLIP: how pictures are read; only RGB.")] = None
    mean: Annotated[
        Annotated[list[float], Meta(min_length=3, max_length=3)] | None,
        Meta(description="OpenCLIP and timm: mean by channel, of pixels in 0 to 1; overrides the configuration."),
    ] = None
    std: Annotated[
        Annotated[list[Annotated[float, Meta(gt=0)]], Meta(min_length=3, max_length=3)] | None,
        Meta(description="OpenCLIP and timm: standard deviation by channel; overrides the configuration."),
    ] = None
    interpolation: Annotated[
        Interpolation | None,
        Meta(
            description="OpenCLIP (bicubic, bilinear) and timm: how pictures are resized; overrides the configuration."
        ),
    ] = None
    resize_mode: Annotated[
        Literal["shortest", "longest", "squash"] | None,
        Meta(description="OpenCLIP: which side is brought to size; overrides the configuration."),
    ] = None
    num_classes: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)] | None,
        Meta(description="timm: outputs of the head in the weights; overrides the configuration."),
    ] = None


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


class DurationStat(Keyed, frozen=True):
    """How often and how long in all; numbers as text, as in Triton's JSON."""

    count: str
    ns: str


class BatchStat(Answer, frozen=True, kw_only=True):
    """Executions of one batch size."""

    batch_size: str
    compute_input: DurationStat
    compute_infer: DurationStat
    compute_output: DurationStat


class InferenceStat(Keyed, frozen=True):
    """Where the time of inference went."""

    success: DurationStat | None
    fail: DurationStat | None
    queue: DurationStat | None
    compute_input: DurationStat | None
    compute_infer: DurationStat | None
    compute_output: DurationStat | None
    cache_hit: DurationStat | None
    cache_miss: DurationStat | None


class ModelStat(Answer, frozen=True, kw_only=True):
    """The engine's statistics of one graph, under the user's name of the model."""

    name: str
    version: str
    last_inference: str | None
    inference_count: str | None
    execution_count: str | None
    inference_stats: InferenceStat
    batch_stats: list[BatchStat] | None


class MetricsAnswer(Answer, frozen=True, kw_only=True):
    """The engine's statistics."""

    model_stats: list[ModelStat]


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
