"""Bodies of the routes that embed the tokens of texts."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ingrain.api.fields import (
    EncodingFormat,
    InputType,
    LibraryField,
    Name,
    NDims,
    Pretrained,
    Prompt,
    PromptName,
    Texts,
    TokenCounts,
    Truncate,
)
from ingrain.api.types import Answer, Counts, Cuts, Request

TokenNormalize = Annotated[
    bool | None,
    Meta(
        description="True to scale each vector to unit length. Not given: vectors are as the model gives them, and of "
        "unit length if `nDims` cuts them or `outputDtype` is `int8`."
    ),
]
Side = Annotated[
    Literal["query", "document"] | None,
    Meta(
        description="Whether the texts are queries or documents (default), which such a model reads differently, as "
        "`encode_query` and `encode_document` do."
    ),
]
TokenOutputDtype = Annotated[
    Literal["float", "float16", "int8", "binary", "ubinary"] | None,
    Meta(
        description="Number type of the vectors (default float): `float16`; `int8`: 127 times the vector of unit "
        "length, rounded; `binary` and `ubinary` with one bit for each dimension, eight bits in a byte."
    ),
]
VectorCounts = Annotated[list[int], Meta(description="Number of vectors of each text.")]
MultiVectors = Annotated[
    list[list[list[float]] | str],
    Meta(
        description="For each text its vectors, in the order of its tokens; if `encodingFormat` is `base64`, one "
        "base64 string with the numbers of all its vectors, one vector after the other."
    ),
]


class EmbedMultiVectorRequest(Request, frozen=True, kw_only=True):
    """Texts to embed with several vectors each."""

    name: Name
    text: Texts
    input_type: Side = None
    normalize: TokenNormalize = None
    n_dims: NDims = None
    prompt: Prompt = None
    prompt_name: PromptName = None
    truncate: Truncate = None
    token_counts: TokenCounts = None
    output_dtype: TokenOutputDtype = None
    encoding_format: EncodingFormat = None
    library: LibraryField = None
    pretrained: Pretrained = None


class EmbedTokensRequest(Request, frozen=True, kw_only=True):
    """Texts whose tokens are embedded."""

    name: Name
    text: Texts
    input_type: InputType = None
    return_tokens: Annotated[
        bool | None, Meta(description="True to add the tokens of each text to the answer, as the vocabulary has them.")
    ] = None
    normalize: TokenNormalize = None
    n_dims: NDims = None
    prompt: Prompt = None
    prompt_name: PromptName = None
    truncate: Truncate = None
    token_counts: TokenCounts = None
    output_dtype: TokenOutputDtype = None
    encoding_format: EncodingFormat = None
    library: LibraryField = None
    pretrained: Pretrained = None


class MultiVectorAnswer(Answer, frozen=True, kw_only=True):
    """Vectors of several texts, in their order."""

    embeddings: MultiVectors
    vector_counts: VectorCounts
    token_counts: Counts | msgspec.UnsetType = msgspec.UNSET
    truncated: Cuts | msgspec.UnsetType = msgspec.UNSET
    processing_time_ms: float


class TokensAnswer(MultiVectorAnswer, frozen=True, kw_only=True):
    """Vectors of the tokens of several texts, in their order."""

    tokens: Annotated[list[list[str]], Meta(description="Tokens of each text; if requested.")] | msgspec.UnsetType = (
        msgspec.UNSET
    )
