"""Request and response bodies of OpenAI's dialect, with additional fields."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ingrain.api import fields
from ingrain.vocabulary import Library, Output, Task

TokenEncoding = Literal["cl100k_base", "own", "refuse"]

Dimensions = Annotated[int, Meta(ge=1)] | None
_Kind = Literal["float", "base64", "int8", "uint8", "binary", "ubinary"]


class InputObject(msgspec.Struct, frozen=True, kw_only=True):
    """An item of ``input`` as Jina has it: a text or an image, one of these fields."""

    text: str | None = None
    image: Annotated[str | None, Meta(description="An http(s) URL, a data URI or base64.")] = None
    url: Annotated[str | None, Meta(description="URL of an image.")] = None
    bytes: Annotated[str | None, Meta(description="An image in base64.")] = None


class ImageUrl(msgspec.Struct, frozen=True, kw_only=True):
    """An image in a message."""

    url: Annotated[str, Meta(description="An http(s) URL or a data URI.")]


class MessagePart(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a message: a text or an image, as its ``type`` says."""

    type: Literal["text", "image_url"]
    text: str | None = None
    image_url: ImageUrl | str | None = None


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message of a chat, as vLLM takes it instead of ``input``."""

    role: str
    content: str | list[MessagePart]


class OpenAIEmbeddingsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Items to embed. Field names may be in camelCase, too. Unknown fields are ignored."""

    model: Annotated[fields.Name, Meta(description="Name of a loaded model; GET /v1/models lists them.")]
    input: Annotated[
        str | Annotated[list[str | int | list[int] | InputObject], Meta(min_length=1)] | msgspec.UnsetType,
        Meta(
            description="A text, a list of texts, a list of token ids, or a list of lists of token ids; or a list of "
            "objects with a text or an image each. Needed, unless there are `messages`. Token ids are "
            "OpenAI's (cl100k_base), unless `token_encoding` or INGRAIN_OPENAI_TOKEN_IDS says otherwise. For a model "
            "with an image encoder also images: http(s) URLs and data URIs."
        ),
    ] = msgspec.UNSET
    encoding_format: Annotated[
        _Kind | list[_Kind] | None,
        Meta(
            description="Vectors as numbers (default), or as base64 of little-endian float32 numbers. Other values, "
            "and lists, are Mixedbread's name of `output_dtype`."
        ),
    ] = None
    dimensions: Annotated[Dimensions, Meta(description="Number of leading dimensions to keep; all if not given.")] = (
        None
    )
    user: Annotated[str | None, Meta(description="Not used.")] = None
    normalize: fields.Normalize = None
    prompt: fields.Prompt = None
    prompt_name: fields.PromptName = None
    input_type: Annotated[
        fields.Word | None,
        Meta(
            description="Kind of the texts; selects the model's prompt for them. `query` and `document` as in "
            "`encode_query` and `encode_document`, or another API's name (`search_document`, `passage`, `clustering`)."
        ),
    ] = None
    truncate: Annotated[
        bool | fields.Word | None,
        Meta(
            description="Handling of a text that is too long for the model: `true` (default) truncates it on the "
            "source library's side, `END` at its end, `START` at its start; `false` or `NONE` refuses the request."
        ),
    ] = None
    token_counts: fields.TokenCounts = None
    output_dtype: Annotated[
        Literal["float", "int8", "uint8", "binary", "ubinary"] | None,
        Meta(description="As in /embed_text; all types but float are lists of integers for any `encoding_format`."),
    ] = None
    modality: Annotated[
        Literal["text", "image"] | None,
        Meta(description="Modality of all items; if not given, URLs and data URIs of images are recognized as images."),
    ] = None
    image_download_headers: fields.Headers = None
    library: fields.LibraryField = None
    pretrained: fields.Pretrained = None
    token_encoding: Annotated[
        TokenEncoding | None,
        Meta(
            description="Encoding of token ids in `input`: `cl100k_base` is OpenAI's, the ids are decoded to text; "
            "`own` is the model's tokenizer; `refuse` accepts none. INGRAIN_OPENAI_TOKEN_IDS if not given."
        ),
    ] = None

    # Other APIs' names of the fields above; server/dialects/openai/fields.py reads them.

    messages: Annotated[
        list[Message] | None, Meta(description="vLLM's, instead of `input`: a single text or image.")
    ] = None
    task: Annotated[fields.Word | None, Meta(description="Jina's name of `input_type`.")] = None
    task_type: Annotated[fields.Word | None, Meta(description="Google's and Nomic's name of `input_type`.")] = None
    output_dimension: Annotated[Dimensions, Meta(description="Voyage's name of `dimensions`.")] = None
    output_dimensions: Annotated[Dimensions, Meta(description="Another name of `dimensions`.")] = None
    output_dimensionality: Annotated[Dimensions, Meta(description="Google's name of `dimensions`.")] = None
    truncate_dim: Annotated[Dimensions, Meta(description="The source library's name of `dimensions`.")] = None
    n_dims: Annotated[Dimensions, Meta(description="Name of `dimensions` in Ingrain's own routes.")] = None
    normalized: Annotated[bool | None, Meta(description="Jina's name of `normalize`.")] = None
    normalize_embeddings: Annotated[bool | None, Meta(description="The source library's name of `normalize`.")] = None
    use_activation: Annotated[bool | None, Meta(description="vLLM's name of `normalize`.")] = None
    embd_normalize: Annotated[
        int | None, Meta(description="llama.cpp's name of `normalize`: 2 is true, -1 is false, others are refused.")
    ] = None
    embedding_type: Annotated[
        _Kind | list[_Kind] | None,
        Meta(
            description="Jina's name of `output_dtype`; `base64` means `encoding_format` `base64`. With several types, "
            "the vectors of an item are an object with one vector for each."
        ),
    ] = None
    embedding_types: Annotated[_Kind | list[_Kind] | None, Meta(description="Cohere's name of `embedding_type`.")] = (
        None
    )
    encoding_type: Annotated[_Kind | list[_Kind] | None, Meta(description="LlamaIndex's name of `embedding_type`.")] = (
        None
    )
    truncation: Annotated[bool | fields.Word | None, Meta(description="Voyage's name of `truncate`.")] = None
    truncation_side: Annotated[
        fields.Word | None, Meta(description="vLLM's: side on which too long texts are truncated, `left` or `right`.")
    ] = None
    truncation_direction: Annotated[fields.Word | None, Meta(description="TEI's name of `truncation_side`.")] = None
    truncate_prompt_tokens: Annotated[
        int | None, Meta(description="vLLM's: the maximum number of tokens of a text; -1 for the model's own maximum.")
    ] = None

    # Unsupported fields of other APIs: refused, unless the value is what Ingrain does anyway.

    late_chunking: Annotated[bool | None, Meta(description="Jina's; `true` is refused.")] = None
    return_multivector: Annotated[bool | None, Meta(description="Jina's; `true` is refused.")] = None
    add_special_tokens: Annotated[bool | None, Meta(description="vLLM's; `false` is refused.")] = None
    embed_dtype: Annotated[str | None, Meta(description="vLLM's; values other than `float32` are refused.")] = None
    endianness: Annotated[str | None, Meta(description="vLLM's; `big` is refused.")] = None
    chat_template: Annotated[str | None, Meta(description="vLLM's; refused.")] = None
    mm_processor_kwargs: Annotated[dict[str, Any] | None, Meta(description="vLLM's; refused.")] = None
    instruction: Annotated[str | None, Meta(description="Refused; use `prompt`.")] = None
    prompt_template: Annotated[str | None, Meta(description="Fireworks'; refused; use `prompt`.")] = None


class AnyModelEmbeddingsRequest(OpenAIEmbeddingsRequest, frozen=True, kw_only=True):
    """Items to embed, as ``OpenAIEmbeddingsRequest``, where the path names the model or the request need not."""

    model: Annotated[
        fields.Name | None,
        Meta(description="Name of a loaded model; not needed if a single one can embed, or INGRAIN_DEFAULT_MODELS is."),
    ] = None  # type: ignore[assignment]
    dimensions: Annotated[
        Annotated[int, Meta(ge=0)] | None, Meta(description="Number of leading dimensions to keep; 0 for all.")
    ] = None


class OpenAIEmbedding(msgspec.Struct, frozen=True, kw_only=True):
    """One vector."""

    object: Annotated[
        Literal["embedding", "embedding_dict"], Meta(description="`embedding_dict` if it has several types.")
    ]
    index: int
    embedding: Annotated[
        list[float] | str | dict[str, list[float] | str],
        Meta(description="The vector; if several types were asked for, the vector of each type."),
    ]
    tokens: Annotated[int, Meta(description="Number of tokens, if requested.")] | msgspec.UnsetType = msgspec.UNSET
    truncated: (
        Annotated[bool, Meta(description="Whether the text was truncated, if requested.")] | msgspec.UnsetType
    ) = msgspec.UNSET


class OpenAIUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Number of tokens, with special tokens and prompts; images have none."""

    prompt_tokens: int
    total_tokens: int


class OpenAIEmbeddingsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors in the order of the input."""

    object: Literal["list"]
    data: list[OpenAIEmbedding]
    model: str
    usage: OpenAIUsage


class OpenAIModel(msgspec.Struct, frozen=True, kw_only=True):
    """A loaded model; the fields after ``owned_by`` are Ingrain's own."""

    id: str
    object: Literal["model"]
    created: Annotated[int, Meta(description="Time of its conversion in Unix seconds.")]
    owned_by: Annotated[str, Meta(description="The source library.")]
    library: Library
    pretrained: str | None
    task: Annotated[Task, Meta(description="Its main purpose.")]
    dimensions: Annotated[
        int | None,
        Meta(
            description="Width of its vectors, which is the size of the vocabulary for sparse ones; null for a model "
            "that gives scores."
        ),
    ]
    labels: Annotated[list[str], Meta(description="Names of a text scorer's scores; empty for other models.")]
    max_tokens: Annotated[
        int | None, Meta(description="Maximum length of a text in tokens; null for a model without a text encoder.")
    ]
    modalities: Annotated[
        list[Literal["text", "image"]], Meta(description="Modalities that `/v1/embeddings` takes with it.")
    ]
    outputs: Annotated[list[Output], Meta(description="What it gives of a text (`outputs` of /embed_text).")]
    prompts: Annotated[dict[str, str], Meta(description="Its prompts by name, for `prompt_name`.")]
    default_prompt_name: Annotated[str | None, Meta(description="Prompt of a request that names none.")]
    output_dtypes: Annotated[
        list[Literal["float", "int8", "uint8", "binary", "ubinary"]],
        Meta(description="Number types that its vectors can have in `/v1/embeddings`."),
    ]


class OpenAIModelsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The loaded models."""

    object: Literal["list"]
    data: list[OpenAIModel]


class OpenAIErrorDetail(msgspec.Struct, frozen=True, kw_only=True):
    """Details of an error; some errors have further fields."""

    message: str
    type: str
    param: str | None
    code: str


class OpenAIErrorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Body of every error response of the routes below /v1."""

    error: OpenAIErrorDetail
    detail: Annotated[str, Meta(description="The message again, where clients of Jina and Voyage look for it.")]
