"""Request and response bodies of TEI's dialect. Fields that TEI does not have are ignored, as TEI ignores them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ingrain.api import fields
from ingrain.preprocess.tokenized import PlacedToken

TokenId = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Texts = str | list[str]
TextsOrIds = str | list[str | TokenId | list[TokenId]]

_TextsOrIds = Annotated[
    TextsOrIds,
    Meta(
        description="A text, a list of texts, the token ids of a text, or a list of lists of token ids. The ids are of "
        "the model's own tokenizer, as /tokenize gives them."
    ),
]
_Truncate = Annotated[
    bool | None,
    Meta(description="True to truncate a text that is too long for the model; otherwise the request is refused."),
]
_Side = Annotated[
    Literal["Left", "Right", "left", "right"] | None,
    Meta(description="Side on which too long texts are truncated; the model's own side if not given."),
]
_PromptName = Annotated[
    fields.Word | None,
    Meta(description="Name of one of the model's own prompts; the model's default prompt if not given."),
]
_Dimensions = Annotated[
    Annotated[int, Meta(ge=1)] | None,
    Meta(description="Number of leading dimensions to keep, before normalization; all if not given."),
]
_RawScores = Annotated[
    bool, Meta(description="True for the model's logits; otherwise sigmoid of one logit, softmax of several.")
]


class TeiEmbedRawRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Texts of which each token is embedded, or which are embedded into sparse vectors."""

    inputs: _TextsOrIds
    truncate: _Truncate = None
    truncation_direction: _Side = None
    prompt_name: _PromptName = None


class TeiEmbedRequest(TeiEmbedRawRequest, frozen=True, kw_only=True):
    """Texts to embed."""

    normalize: Annotated[bool | None, Meta(description="False for vectors as the model gives them.")] = None
    dimensions: _Dimensions = None


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """A sentence and those that it is compared with."""

    source_sentence: str
    sentences: list[str]


class SimilarityParameters(msgspec.Struct, frozen=True, kw_only=True):
    """Options of texts."""

    truncate: _Truncate = None
    truncation_direction: _Side = None
    prompt_name: _PromptName = None


class TeiOpenAIRequest(SimilarityParameters, frozen=True, kw_only=True):
    """Texts to embed, in OpenAI's words."""

    input: _TextsOrIds
    model: Annotated[str | None, Meta(description="Not used: the path names the model.")] = None
    encoding_format: Annotated[
        Literal["float", "base64"] | None,
        Meta(description="Vectors as numbers (default), or as base64 of little-endian float32 numbers."),
    ] = None
    dimensions: _Dimensions = None


class TeiSimilarityRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Sentences to compare."""

    inputs: Compared
    parameters: SimilarityParameters | None = None


class TeiRerankRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A query, and texts to rank by their relevance to it."""

    query: str
    texts: list[str]
    truncate: _Truncate = None
    truncation_direction: _Side = None
    raw_scores: _RawScores = False
    return_text: Annotated[bool, Meta(description="True to have the texts in the answer.")] = False


class PredictParameters(msgspec.Struct, frozen=True, kw_only=True):
    """Options of Hugging Face's inference clients."""

    function_to_apply: Annotated[
        Literal["sigmoid", "softmax", "none"] | None, Meta(description="Takes the place of `raw_scores`.")
    ] = None
    top_k: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="Number of labels; all if not given.")] = None


PredictInputs = Annotated[
    str | list[str | list[str]],
    Meta(description="A text, a pair `[text, text]`, or a list whose items are `[text]` or `[text, text]`."),
]


class TeiPredictRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Texts, or pairs of texts, to classify."""

    inputs: PredictInputs
    truncate: _Truncate = None
    truncation_direction: _Side = None
    raw_scores: _RawScores = False
    parameters: Annotated[
        PredictParameters | None,
        Meta(description="What Hugging Face's inference clients send; the answer then has a list for each input."),
    ] = None


class RootParameters(PredictParameters, frozen=True, kw_only=True):
    """Options of Hugging Face's inference clients."""

    truncate: _Truncate = None
    truncation_direction: _Side = None
    prompt_name: _PromptName = None
    normalize: bool | None = None
    dimensions: _Dimensions = None


class TeiRootRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request for what the model does: the body of /embed, /embed_sparse, /predict, /similarity or /rerank.

    Options may be in `parameters`, too.
    """

    inputs: str | list[str | TokenId | list[str | TokenId]] | Compared | None = None
    query: str | None = None
    texts: list[str] | None = None
    truncate: _Truncate = None
    truncation_direction: _Side = None
    prompt_name: _PromptName = None
    normalize: bool | None = None
    dimensions: _Dimensions = None
    raw_scores: bool | None = None
    return_text: bool = False
    parameters: RootParameters | None = None


class TeiTokenizeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Texts to tokenize."""

    inputs: Annotated[Texts, Meta(description="A text, or a list of texts.")]
    add_special_tokens: Annotated[bool, Meta(description="False to leave the special tokens out.")] = True
    prompt_name: _PromptName = None


class TeiDecodeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Token ids to decode."""

    ids: Annotated[
        list[TokenId | list[TokenId]], Meta(description="The token ids of a text, or a list of lists of token ids.")
    ]
    skip_special_tokens: Annotated[bool, Meta(description="False to write the special tokens, too.")] = True


class TeiOpenAIEmbedding(msgspec.Struct, frozen=True):
    """One vector."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class TeiOpenAIUsage(msgspec.Struct, frozen=True):
    """Number of computed tokens."""

    prompt_tokens: int
    total_tokens: int


class TeiOpenAIAnswer(msgspec.Struct, frozen=True):
    """Vectors, in OpenAI's words."""

    object: Literal["list"]
    data: list[TeiOpenAIEmbedding]
    model: str
    usage: TeiOpenAIUsage


Vector = list[float]
EmbedAnswer = list[Vector]
EmbedAllAnswer = list[list[Vector]]
SimilarityAnswer = list[float]
DecodeAnswer = list[str]


class SparseValue(msgspec.Struct, frozen=True):
    """One entry of a sparse vector."""

    index: int
    value: float


EmbedSparseAnswer = list[list[SparseValue]]


class Rank(msgspec.Struct, frozen=True, omit_defaults=True):
    """The score of one text.

    Attributes:
        index: Index of the text in the request.
        score: Its score.
        text: The text, if it was asked for.
    """

    index: int
    score: float
    text: str | msgspec.UnsetType = msgspec.UNSET


RerankAnswer = list[Rank]


class Prediction(msgspec.Struct, frozen=True):
    """The score of one label."""

    score: float
    label: str


PredictAnswer = list[Prediction | list[Prediction]]


RootAnswer = list[Any]
"""As of the route that the body is for."""
TokenizeAnswer = list[list[PlacedToken]]


class EmbeddingModel(msgspec.Struct, frozen=True):
    """What an embedding model does with the vectors of a text's tokens."""

    pooling: str


class ClassifierModel(msgspec.Struct, frozen=True):
    """The labels of a model that scores texts."""

    id2label: dict[str, str]
    label2id: dict[str, int]


class ModelType(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a model does; one of the fields is there."""

    embedding: EmbeddingModel | msgspec.UnsetType = msgspec.UNSET
    classifier: ClassifierModel | msgspec.UnsetType = msgspec.UNSET
    reranker: ClassifierModel | msgspec.UnsetType = msgspec.UNSET


class TeiInfoAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A model, and the limits of requests."""

    model_id: str
    model_sha: str | None
    model_dtype: str
    model_type: ModelType
    max_concurrent_requests: int
    max_input_length: int
    max_batch_tokens: int
    max_batch_requests: int | None
    max_client_batch_size: int
    auto_truncate: bool
    tokenization_workers: int
    version: str
    sha: str | None
    docker_label: str | None


class TeiErrorAnswer(msgspec.Struct, frozen=True):
    """An error."""

    error: str
    error_type: Literal["Unhealthy", "Backend", "Overloaded", "Validation", "Tokenizer", "Empty"]
