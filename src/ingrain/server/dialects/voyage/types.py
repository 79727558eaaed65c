"""Request and response bodies of Voyage's dialect. Unknown fields are ignored."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, UnsetType

from ingrain.api import fields

_Truncation = Annotated[
    bool | None, Meta(description="False to refuse a text that is too long (default true: truncate it).")
]


class VoyageRerankRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Documents to rank by their relevance to a query."""

    query: str
    documents: Annotated[list[str], Meta(min_length=1)]
    model: Annotated[fields.Name, Meta(description="Name of a loaded model.")]
    top_k: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="Number of results, the best ones; all if not given.")
    ] = None
    return_documents: Annotated[bool | None, Meta(description="True to add each document to its result.")] = None
    truncation: _Truncation = None


class VoyageRanked(msgspec.Struct, frozen=True, kw_only=True):
    """A document's place in the request and its score."""

    relevance_score: float
    index: int
    document: Annotated[str, Meta(description="The document, if requested.")] | UnsetType = msgspec.UNSET


class VoyageUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of all pairs of query and document."""

    total_tokens: int


class VoyageRerankAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The documents by falling score."""

    object: Literal["list"]
    data: list[VoyageRanked]
    model: str
    usage: VoyageUsage


class VoyagePart(msgspec.Struct, frozen=True, kw_only=True):
    """A text or an image, as its ``type`` says. Videos are refused."""

    type: Literal["text", "image_url", "image_base64"]
    text: str | None = None
    image_url: Annotated[str | None, Meta(description="An http(s) URL.")] = None
    image_base64: Annotated[str | None, Meta(description="A data URI or base64.")] = None


class VoyageInput(msgspec.Struct, frozen=True, kw_only=True):
    """What one vector is made of: a single text or image."""

    content: Annotated[list[VoyagePart], Meta(min_length=1)]


class VoyageMultimodalRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Texts and images to embed."""

    inputs: Annotated[list[VoyageInput], Meta(min_length=1)]
    model: Annotated[fields.Name, Meta(description="Name of a loaded model.")]
    input_type: Annotated[
        Literal["query", "document"] | None, Meta(description="Selects the model's prompt for the texts.")
    ] = None
    truncation: _Truncation = None
    output_encoding: Annotated[
        Literal["base64"] | None, Meta(description="`base64`: little-endian float32 numbers in base64.")
    ] = None
    encoding_format: Annotated[
        Literal["base64"] | None, Meta(description="Name of `output_encoding` in Voyage's Python client.")
    ] = None
    output_dtype: Annotated[
        Literal["float", "int8", "uint8", "binary", "ubinary"] | None,
        Meta(description="Number type; all but float are lists of integers. Images have no int8 and uint8."),
    ] = None
    output_dimension: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="Number of leading dimensions to keep.")
    ] = None


class VoyageEmbedding(msgspec.Struct, frozen=True, kw_only=True):
    """One vector."""

    object: Literal["embedding"]
    embedding: list[float] | str
    index: int


class VoyageMultimodalUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of the texts. Pixels are not counted."""

    text_tokens: int
    image_pixels: Literal[0]
    video_pixels: Literal[0]
    total_tokens: int


class VoyageMultimodalAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors in the order of the inputs."""

    object: Literal["list"]
    data: list[VoyageEmbedding]
    model: str
    usage: VoyageMultimodalUsage


class VoyageErrorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Body of an error response."""

    detail: str
