"""Bodies of the routes that speak OpenAI's dialect; fields that are not OpenAI's own are marked as Ingrain's."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ingrain.api import types
from ingrain.repository.manifest import Library


class OpenAIEmbeddingsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to embed. Unknown fields are ignored; fields of Ingrain's own are taken in camelCase too."""

    model: Annotated[types.Name, Meta(description="Name of a loaded model; GET /v1/models lists them.")]
    input: Annotated[
        str | Annotated[list[str | int | list[int]], Meta(min_length=1)],
        Meta(
            description="A text, a list of texts, a list of token ids, or a list of those. Token ids are those of the "
            "model's own tokenizer. Of a model with an image tower also pictures: http(s) URLs and data URIs."
        ),
    ]
    encoding_format: Annotated[
        Literal["float", "base64"] | None,
        Meta(description="Vectors as numbers (default), or as base64 of their float32 numbers, little-endian."),
    ] = None
    dimensions: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="Keep only the first dimensions; all if not given.")
    ] = None
    user: Annotated[str | None, Meta(description="Not used.")] = None
    normalize: types.Normalize = None
    prompt: types.Prompt = None
    prompt_name: types.PromptName = None
    input_type: types.InputType = None
    truncate: types.Truncate = None
    token_counts: types.TokenCounts = None
    output_dtype: Annotated[
        Literal["float", "int8", "uint8", "binary", "ubinary"] | None,
        Meta(description="As in /embed_text; all but float come as lists of whole numbers, whatever the encoding."),
    ] = None
    modality: Annotated[
        Literal["text", "image"] | None,
        Meta(description="What all items are, where it is not to be told by their looks."),
    ] = None
    image_download_headers: types.Headers = None
    library: types.LibraryField = None
    pretrained: types.Pretrained = None


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
