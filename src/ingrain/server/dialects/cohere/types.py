"""Request and response bodies of Cohere's dialect; unknown fields are refused, as Cohere refuses them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

EmbeddingType = Literal["float", "int8", "uint8", "binary", "ubinary", "base64"]

_Model = Annotated[str, Meta(min_length=1, max_length=512, description="Name of a loaded model.")]
_OptionalModel = Annotated[
    Annotated[str, Meta(min_length=1, max_length=512)] | None,
    Meta(description="Name of a loaded model; the default model if not given."),
]
_Positive = Annotated[int, Meta(ge=1)] | None
_Unused = Meta(description="Not used.")


class CohereImageUrl(msgspec.Struct, frozen=True, kw_only=True):
    """Where an image is."""

    url: Annotated[str, Meta(description="Data URI, http(s) URL or base64 of an image.")]


class CohereContent(msgspec.Struct, frozen=True, kw_only=True):
    """A text or an image."""

    type: Literal["text", "image_url"]
    text: str | None = None
    image_url: CohereImageUrl | None = None


class CohereEmbedInput(msgspec.Struct, frozen=True, kw_only=True):
    """What gets one vector."""

    content: Annotated[
        list[CohereContent],
        Meta(min_length=1, description="One text or one image; several, which would share a vector, are refused."),
    ]


class CohereEmbedRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be embedded: one of `texts`, `images` and `inputs`."""

    model: _OptionalModel = None
    texts: Annotated[list[str], Meta(min_length=1)] | None = None
    images: Annotated[
        Annotated[list[str], Meta(min_length=1)] | None,
        Meta(description="Data URIs, http(s) URLs or base64 of images."),
    ] = None
    inputs: Annotated[
        Annotated[list[CohereEmbedInput], Meta(min_length=1)] | None, Meta(description="Texts and images together.")
    ] = None
    input_type: Annotated[
        Literal["search_document", "search_query", "classification", "clustering", "image"] | None,
        Meta(
            description="Kind of the texts; selects the model's prompt for them. If not given: the model's default "
            "prompt. A model without any prompts embeds all kinds alike."
        ),
    ] = None
    embedding_types: Annotated[
        list[EmbeddingType] | None,
        Meta(
            description="Number types of the vectors, of which `base64` is that of the float32 numbers. If not given: "
            "`float` in version 2, a plain list of vectors in version 1."
        ),
    ] = None
    output_dimension: Annotated[
        _Positive, Meta(description="Number of leading dimensions to keep; all if not given.")
    ] = None
    max_tokens: Annotated[
        _Positive, Meta(description="Maximum tokens of a text, if that is less than the model's.")
    ] = None
    truncate: Annotated[
        Literal["NONE", "START", "END"] | None,
        Meta(description="Side on which a too long text is cut (default END); `NONE` refuses it."),
    ] = None
    priority: Annotated[int | None, _Unused] = None


class CohereEmbedV2Request(CohereEmbedRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be embedded: one of `texts`, `images` and `inputs`."""

    model: _Model


class CohereApiVersion(msgspec.Struct, frozen=True, kw_only=True):
    """Version of the API."""

    version: str


class CohereBilledUnits(msgspec.Struct, frozen=True, kw_only=True):
    """What Cohere would bill."""

    input_tokens: Annotated[int, Meta(description="Tokens of the texts.")] | UnsetType = UNSET
    images: Annotated[int, Meta(description="Number of images.")] | UnsetType = UNSET
    search_units: Annotated[int, Meta(description="One for each hundred documents.")] | UnsetType = UNSET


class CohereApiMeta(msgspec.Struct, frozen=True, kw_only=True):
    """About the answer."""

    api_version: CohereApiVersion
    billed_units: CohereBilledUnits | UnsetType = UNSET
    warnings: Annotated[list[str], Meta(description="Says how many texts were cut, if any.")] | UnsetType = UNSET


class CohereEmbeddingsByType(msgspec.Struct, frozen=True, kw_only=True, rename={"float_": "float"}):
    """The vectors in each requested number type."""

    float_: list[list[float]] | UnsetType = UNSET
    int8: list[list[int]] | UnsetType = UNSET
    uint8: list[list[int]] | UnsetType = UNSET
    binary: list[list[int]] | UnsetType = UNSET
    ubinary: list[list[int]] | UnsetType = UNSET
    base64: list[str] | UnsetType = UNSET


class CohereEmbedV2Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors in the order of the request."""

    id: str
    response_type: Literal["embeddings_by_type"]
    embeddings: CohereEmbeddingsByType
    texts: Annotated[list[str], Meta(description="`texts` of the request.")]
    meta: CohereApiMeta


class CohereEmbedV1Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors in the order of the request: plain lists, unless it names `embedding_types`."""

    id: str
    response_type: Literal["embeddings_floats", "embeddings_by_type"]
    embeddings: list[list[float]] | CohereEmbeddingsByType
    texts: Annotated[list[str], Meta(description="`texts` of the request.")]
    meta: CohereApiMeta


class CohereRelevantSpans(msgspec.Struct, frozen=True, kw_only=True):
    """Which parts of a document to return; only `disabled` is possible."""

    mode: str


class CohereRerankRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Documents to rank by their relevance to a query."""

    model: _OptionalModel = None
    query: Annotated[str, Meta(min_length=1)]
    documents: Annotated[
        list[str | dict[str, Any]],
        Meta(min_length=1, description="Texts, or objects with `text` or the fields that `rank_fields` names."),
    ]
    top_n: Annotated[_Positive, Meta(description="Number of results, the best ones; all if not given.")] = None
    rank_fields: Annotated[
        Annotated[list[str], Meta(min_length=1)] | None,
        Meta(description="Fields of the documents that are read, in this order, each in a line (default `text`)."),
    ] = None
    return_documents: Annotated[
        bool | None, Meta(description="True to add each document to its result, a text as `text` (default false).")
    ] = None
    max_tokens_per_doc: Annotated[
        _Positive, Meta(description="Maximum tokens of a document, if that is less than the model takes.")
    ] = None
    max_chunks_per_doc: Annotated[
        _Positive, Meta(description="Not used: a document is one chunk, and is cut if it is too long.")
    ] = None
    relevant_spans: Annotated[
        CohereRelevantSpans | None, Meta(description="Refused, unless its mode is `disabled`.")
    ] = None
    priority: Annotated[int | None, _Unused] = None
    user: Annotated[str | None, _Unused] = None


class CohereRerankV2Request(CohereRerankRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Documents to rank by their relevance to a query."""

    model: _Model


class CohereRankedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One document's place in the request and its score."""

    index: int
    relevance_score: float
    document: Annotated[dict[str, Any], Meta(description="The document, if requested.")] | UnsetType = UNSET


class CohereRerankUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of all pairs of query and document."""

    total_tokens: int


class CohereRerankAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Documents by falling score; ``model`` and ``usage`` are for clients of Jina and vLLM, which use the same path."""

    id: str
    results: list[CohereRankedDocument]
    model: str
    usage: CohereRerankUsage
    meta: CohereApiMeta


class CohereTokenizeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A text whose tokens are wanted."""

    text: Annotated[str, Meta(min_length=1)]
    model: _Model


class CohereTokenizeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens of a text, without special tokens."""

    tokens: list[int]
    token_strings: Annotated[list[str], Meta(description="The characters that each token stands for.")]
    meta: CohereApiMeta


class CohereDetokenizeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Tokens whose text is wanted."""

    tokens: Annotated[list[Annotated[int, Meta(ge=0, le=4294967295)]], Meta(min_length=1)]
    model: _Model


class CohereDetokenizeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The text of tokens."""

    text: str
    meta: CohereApiMeta


class CohereModel(msgspec.Struct, frozen=True, kw_only=True):
    """A loaded model."""

    name: str
    endpoints: Annotated[list[Literal["embed", "rerank"]], Meta(description="What it can be used for.")]
    default_endpoints: list[str]
    is_deprecated: Literal[False]
    finetuned: Literal[False]
    features: None
    tokenizer_url: None
    context_length: Annotated[int | None, Meta(description="Maximum tokens of a text; null if it takes no text.")]


class CohereModelsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The loaded models, on one page."""

    models: list[CohereModel]


class CohereCheckApiKeyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The key is valid; a wrong one gets status 401."""

    valid: Literal[True]
    organization_id: None
    owner_id: None


class CohereErrorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Body of an error response."""

    id: Annotated[str, Meta(description="Id of the request, as in X-Request-Id.")]
    message: str
    detail: Annotated[str, Meta(description="The message again, for Jina's clients.")]
