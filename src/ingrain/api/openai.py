"""Bodies of the routes that speak OpenAI's dialect; fields that are not OpenAI's own are marked as Ingrain's."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ingrain.api import fields
from ingrain.vocabulary import Library

TokenEncoding = Literal["cl100k_base", "own", "refuse"]

_Dimensions = Annotated[int, Meta(ge=1)] | None
_Kind = Literal["float", "base64", "int8", "uint8", "binary", "ubinary"]


class OpenAIEmbeddingsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to embed. Fields are taken in camelCase too. Fields that are not listed here are ignored."""

    model: Annotated[fields.Name, Meta(description="Name of a loaded model; GET /v1/models lists them.")]
    input: Annotated[
        str | Annotated[list[str | int | list[int]], Meta(min_length=1)],
        Meta(
            description="A text, a list of texts, a list of token ids, or a list of those. Token ids are OpenAI's, of "
            "the encoding cl100k_base, unless `token_encoding` or INGRAIN_OPENAI_TOKEN_IDS says otherwise. Of a model "
            "with an image tower also pictures: http(s) URLs and data URIs."
        ),
    ]
    encoding_format: Annotated[
        Literal["float", "base64"] | None,
        Meta(description="Vectors as numbers (default), or as base64 of their float32 numbers, little-endian."),
    ] = None
    dimensions: Annotated[_Dimensions, Meta(description="Keep only the first dimensions; all if not given.")] = None
    user: Annotated[str | None, Meta(description="Not used.")] = None
    normalize: fields.Normalize = None
    prompt: fields.Prompt = None
    prompt_name: fields.PromptName = None
    input_type: Annotated[
        fields.Word | None,
        Meta(
            description="What the texts are: `query` and `document`, as `encode_query` and `encode_document` have it, "
            "or another API's word for it (`search_document`, `passage`, `clustering`): the prompt that the model has "
            "for it goes before them."
        ),
    ] = None
    truncate: Annotated[
        bool | fields.Word | None,
        Meta(
            description="What becomes of a text that is longer than the model takes: `true` (default) cuts it where "
            "the source library does, `END` at its end, `START` at its start; `false` or `NONE` refuses it."
        ),
    ] = None
    token_counts: fields.TokenCounts = None
    output_dtype: Annotated[
        Literal["float", "int8", "uint8", "binary", "ubinary"] | None,
        Meta(description="As in /embed_text; all but float come as lists of whole numbers, whatever the encoding."),
    ] = None
    modality: Annotated[
        Literal["text", "image"] | None,
        Meta(description="What all items are, where it is not to be told by their looks."),
    ] = None
    image_download_headers: fields.Headers = None
    library: fields.LibraryField = None
    pretrained: fields.Pretrained = None
    token_encoding: Annotated[
        TokenEncoding | None,
        Meta(
            description="What token ids in `input` are: of OpenAI's cl100k_base, whose text is embedded; of the "
            "model's own tokenizer; or nothing that is taken. INGRAIN_OPENAI_TOKEN_IDS if not given."
        ),
    ] = None

    # Words of other APIs for what is above; server/openai_fields.py reads them.

    task: Annotated[fields.Word | None, Meta(description="Jina's word for `input_type`.")] = None
    task_type: Annotated[fields.Word | None, Meta(description="Google's and Nomic's word for `input_type`.")] = None
    output_dimension: Annotated[_Dimensions, Meta(description="Voyage's word for `dimensions`.")] = None
    output_dimensions: Annotated[_Dimensions, Meta(description="Another word for `dimensions`.")] = None
    output_dimensionality: Annotated[_Dimensions, Meta(description="Google's word for `dimensions`.")] = None
    truncate_dim: Annotated[_Dimensions, Meta(description="The source library's word for `dimensions`.")] = None
    n_dims: Annotated[_Dimensions, Meta(description="The word of Ingrain's own routes for `dimensions`.")] = None
    normalized: Annotated[bool | None, Meta(description="Jina's word for `normalize`.")] = None
    normalize_embeddings: Annotated[bool | None, Meta(description="The source library's word for `normalize`.")] = None
    use_activation: Annotated[bool | None, Meta(description="vLLM's word for `normalize`.")] = None
    embd_normalize: Annotated[
        int | None, Meta(description="llama.cpp's word for `normalize`: 2 is true, -1 is false, others are refused.")
    ] = None
    embedding_type: Annotated[
        _Kind | list[_Kind] | None,
        Meta(description="Jina's word for `output_dtype`, and for `encoding_format` where it is base64."),
    ] = None
    embedding_types: Annotated[
        _Kind | list[_Kind] | None, Meta(description="Cohere's word for `output_dtype`; one type a request.")
    ] = None
    truncation: Annotated[bool | fields.Word | None, Meta(description="Voyage's word for `truncate`.")] = None
    truncation_side: Annotated[
        fields.Word | None, Meta(description="vLLM's: where to cut what is too long, `left` or `right`.")
    ] = None
    truncation_direction: Annotated[fields.Word | None, Meta(description="TEI's word for `truncation_side`.")] = None
    truncate_prompt_tokens: Annotated[
        int | None, Meta(description="vLLM's: -1 cuts at what the model takes; other values are refused.")
    ] = None

    # What no model here can be asked for: refused unless it asks for what is done in any case.

    late_chunking: Annotated[bool | None, Meta(description="Jina's; `true` is refused.")] = None
    return_multivector: Annotated[bool | None, Meta(description="Jina's; `true` is refused.")] = None
    add_special_tokens: Annotated[bool | None, Meta(description="vLLM's; `false` is refused.")] = None
    embed_dtype: Annotated[str | None, Meta(description="vLLM's; all but `float32` is refused.")] = None
    endianness: Annotated[str | None, Meta(description="vLLM's; `big` is refused.")] = None
    instruction: Annotated[str | None, Meta(description="Refused; `prompt` is what goes before a text.")] = None
    prompt_template: Annotated[str | None, Meta(description="Fireworks'; refused, as `instruction`.")] = None


class OpenAIEmbedding(msgspec.Struct, frozen=True, kw_only=True):
    """One vector."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str
    tokens: Annotated[int, Meta(description="Its tokens, if asked for.")] | msgspec.UnsetType = msgspec.UNSET
    truncated: Annotated[bool, Meta(description="Whether it was cut, if asked for.")] | msgspec.UnsetType = (
        msgspec.UNSET
    )


class OpenAIUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens that were computed, special tokens and prompts included; images have none."""

    prompt_tokens: int
    total_tokens: int


class OpenAIEmbeddingsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors in the order of the input."""

    object: Literal["list"]
    data: list[OpenAIEmbedding]
    model: str
    usage: OpenAIUsage


class OpenAIModel(msgspec.Struct, frozen=True, kw_only=True):
    """A loaded model; what follows ``owned_by`` is Ingrain's own."""

    id: str
    object: Literal["model"]
    created: Annotated[int, Meta(description="When it was converted, in Unix seconds.")]
    owned_by: Annotated[str, Meta(description="The source library.")]
    library: Library
    pretrained: str | None
    dimensions: Annotated[int, Meta(description="Width of its vectors.")]
    max_tokens: Annotated[int | None, Meta(description="Longest text in tokens; null for a model without texts.")]
    modalities: Annotated[list[Literal["text", "image"]], Meta(description="What it makes vectors of.")]
    prompts: Annotated[dict[str, str], Meta(description="Its own prompts by name, for `prompt_name`.")]
    default_prompt_name: Annotated[str | None, Meta(description="The prompt used where a request names none.")]
    output_dtypes: Annotated[
        list[Literal["float", "int8", "uint8", "binary", "ubinary"]],
        Meta(description="What the numbers of its text vectors may become."),
    ]


class OpenAIModelsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The loaded models."""

    object: Literal["list"]
    data: list[OpenAIModel]


class OpenAIErrorDetail(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong; further facts by error."""

    message: str
    type: str
    param: str | None
    code: str


class OpenAIErrorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Body of every error of the routes below /v1."""

    error: OpenAIErrorDetail
