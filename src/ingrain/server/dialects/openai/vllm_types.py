"""Request and response bodies of vLLM's dialect. Unknown fields are ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ingrain.api import fields

Texts = str | Annotated[list[str], Meta(min_length=1)]

_Model = Annotated[
    fields.Name | None, Meta(description="Not needed if a single loaded model can do this, or there is a default.")
]
_Documents = Annotated[
    str | Annotated[list[str | dict[str, Any]], Meta(min_length=1)],
    Meta(description="A text, or a list of texts or of objects with the field `text`."),
]


class VllmRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of all requests."""

    model: _Model = None
    truncate_prompt_tokens: Annotated[
        int | None,
        Meta(
            description="Maximum tokens of a text, or -1 for the model's own maximum; not given: what is too long is "
            "refused. Pairs take only -1."
        ),
    ] = None
    truncation_side: Annotated[
        Literal["left", "right"] | None, Meta(description="Side on which texts and pairs are truncated.")
    ] = None
    use_activation: Annotated[
        bool | None, Meta(description="False for raw scores, or vectors that are not normalized.")
    ] = None
    activation: Annotated[bool | None, Meta(description="Older name of `use_activation`.")] = None
    softmax: Annotated[bool | None, Meta(description="Older name of `use_activation`.")] = None


_MaxTokens = Annotated[int, Meta(ge=0)] | None


class VllmPairsRequest(VllmRequest, frozen=True, kw_only=True):
    """Fields of requests for scores."""

    max_tokens_per_query: Annotated[
        _MaxTokens, Meta(description="Maximum tokens of a query or first text, which is cut there; 0 for the model's.")
    ] = None
    max_tokens_per_doc: Annotated[
        _MaxTokens, Meta(description="Maximum tokens of a document or second text, which is cut there.")
    ] = None


class VllmScoreRequest(VllmPairsRequest, frozen=True, kw_only=True):
    """Pairs of texts to score: one text with each of several, or two lists of the same length."""

    text_1: Texts | None = None
    text_2: Texts | None = None
    queries: Annotated[Texts | None, Meta(description="Another name of `text_1`.")] = None
    documents: Annotated[Texts | None, Meta(description="Another name of `text_2`.")] = None
    items: Annotated[Texts | None, Meta(description="Another name of `text_2`.")] = None
    data_1: Annotated[Texts | None, Meta(description="Another name of `text_1`.")] = None
    data_2: Annotated[Texts | None, Meta(description="Another name of `text_2`.")] = None


class VllmRerankRequest(VllmPairsRequest, frozen=True, kw_only=True):
    """Documents to rank by their relevance to a query."""

    query: str
    documents: _Documents
    top_n: Annotated[
        Annotated[int, Meta(ge=0)] | None, Meta(description="Number of results, the best ones; 0 for all.")
    ] = None
    return_documents: Annotated[
        bool | None, Meta(description="Jina's: false to leave the documents out (default true).")
    ] = None


class VllmClassifyRequest(VllmRequest, frozen=True, kw_only=True):
    """Texts to classify."""

    input: Texts
    add_special_tokens: Annotated[bool | None, Meta(description="`false` is refused.")] = None


class VllmPoolingRequest(VllmClassifyRequest, frozen=True, kw_only=True):
    """Texts for whatever the model makes of them: vectors, vectors of tokens or probabilities."""

    task: Annotated[
        Literal["embed", "token_embed", "classify"] | None,
        Meta(description="What is computed; what the model is for, if not given."),
    ] = None
    encoding_format: Annotated[
        Literal["float", "base64"] | None, Meta(description="Numbers, or base64 of little-endian float32 numbers.")
    ] = None
    dimensions: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="Number of leading dimensions to keep.")
    ] = None
    normalize: Annotated[bool | None, Meta(description="False for vectors that are not normalized.")] = None
    embed_dtype: Annotated[Literal["float32"] | None, Meta(description="Number type in base64.")] = None
    endianness: Annotated[Literal["native", "little"] | None, Meta(description="Byte order in base64.")] = None


class VllmUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Number of tokens."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: Literal[0]


class VllmScore(msgspec.Struct, frozen=True, kw_only=True):
    """The score of a pair."""

    index: int
    object: Literal["score"]
    score: float


class VllmScoreAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The scores in the order of the pairs."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[VllmScore]
    usage: VllmUsage


class VllmDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A document."""

    text: str


class VllmRanked(msgspec.Struct, frozen=True, kw_only=True):
    """A document's place in the request and its score."""

    index: int
    relevance_score: float
    document: VllmDocument | msgspec.UnsetType = msgspec.UNSET


class VllmRerankAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The documents by falling score."""

    id: str
    model: str
    usage: VllmUsage
    results: list[VllmRanked]


class VllmClassified(msgspec.Struct, frozen=True, kw_only=True):
    """The probabilities of a text, and its likeliest label."""

    index: int
    label: str
    probs: list[float]
    num_classes: int


class VllmClassifyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The classes in the order of the texts."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[VllmClassified]
    usage: VllmUsage


class VllmPooled(msgspec.Struct, frozen=True, kw_only=True):
    """What the model makes of a text: a vector, a vector for each token, or probabilities."""

    index: int
    object: Literal["pooling"]
    data: list[list[float] | float] | str


class VllmPoolingAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The results in the order of the texts."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[VllmPooled]
    usage: VllmUsage


class VllmTokenizeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A text to tokenize."""

    model: _Model = None
    prompt: str
    add_special_tokens: Annotated[
        bool | None, Meta(description="False to leave out the special tokens around the text.")
    ] = None
    return_token_strs: Annotated[bool | None, Meta(description="True to add the characters of each token.")] = None


class VllmTokenizeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens of a text, also of one that is too long for the model."""

    count: int
    max_model_len: Annotated[int, Meta(description="Maximum tokens of a text.")]
    tokens: list[int]
    token_strs: list[str] | None


class VllmDetokenizeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of the model's own tokenizer."""

    model: _Model = None
    tokens: list[Annotated[int, Meta(ge=0, lt=2**32)]]


class VllmDetokenizeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The text of the tokens, with special tokens."""

    prompt: str


class VllmVersion(msgspec.Struct, frozen=True, kw_only=True):
    """Version of this server."""

    version: str
