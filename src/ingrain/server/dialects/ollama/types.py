"""Request and response bodies of Ollama's dialect."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ingrain.api import fields
from ingrain.vocabulary import Library

ModelField = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=512,
        description="Name of the model, with or without a tag: `:latest`, the revision on the hub, or the weight tag "
        "of an OpenCLIP model. `hf.co/` may stand before it.",
    ),
]
_OldName = Annotated[ModelField | None, Meta(description="Older name of `model`.")]
_KeepAlive = Annotated[
    float | str | None,
    Meta(
        description="With INGRAIN_LOAD_ON_DEMAND: how long the model stays loaded after this request, in seconds or as "
        "a duration such as `10m`; 0 unloads it, a negative one keeps it. Otherwise not used."
    ),
]
_Nanoseconds = Annotated[int, Meta(description="Nanoseconds.")]


class OllamaOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a model, of which embeddings depend on one. The others are ignored."""

    num_ctx: Annotated[
        float | None,
        Meta(description="Most tokens of a text, with special tokens, if that is less than the model's limit."),
    ] = None


class OllamaEmbedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Texts to embed. Unknown fields are ignored."""

    model: ModelField
    input: Annotated[
        str | list[str] | None, Meta(description="A text or a list of texts; without any the answer has no vector.")
    ] = None
    truncate: Annotated[
        bool | None, Meta(description="False to refuse texts that are too long for the model (default true: cut them).")
    ] = None
    dimensions: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(description="Number of leading dimensions to keep, before normalization; 0 for all."),
    ] = None
    options: OllamaOptions | None = None
    keep_alive: _KeepAlive = None


class OllamaEmbedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One vector of unit length for each text, in order."""

    model: Annotated[str, Meta(description="The model's name as it was sent.")]
    embeddings: list[list[float]]
    total_duration: _Nanoseconds = 0
    load_duration: Annotated[int, Meta(description="0: the time of loading is in `total_duration`.")] = 0
    prompt_eval_count: Annotated[int, Meta(description="Number of tokens in all texts, with special tokens.")] = 0


class OllamaEmbeddingsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A text to embed in the older way. Unknown fields are ignored."""

    model: ModelField
    prompt: Annotated[str | None, Meta(description="The text; without one the answer has no vector.")] = None
    options: OllamaOptions | None = None
    keep_alive: _KeepAlive = None


class OllamaEmbeddingsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The vector of the text as the model gives it, which need not have unit length."""

    embedding: list[float]


class OllamaDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Properties of a model in Ollama's terms."""

    parent_model: str = ""
    format: str = "onnx"
    family: Annotated[str, Meta(description="Class of the network in its source library.")]
    families: list[str]
    parameter_size: Annotated[str, Meta(description="Empty, as it is not known.")] = ""
    quantization_level: Annotated[str, Meta(description="F32, F16 or INT8.")]


class OllamaListedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A loaded model."""

    name: str
    model: str
    modified_at: str
    size: Annotated[int, Meta(description="Bytes of the model's files.")]
    digest: Annotated[str, Meta(description="SHA-256 of the model's manifest, which has the checksums of its files.")]
    details: OllamaDetails


class OllamaTagsAnswer(msgspec.Struct, frozen=True):
    """The loaded models."""

    models: list[OllamaListedModel]


class OllamaRunningModel(OllamaListedModel, frozen=True, kw_only=True):
    """A loaded model."""

    expires_at: Annotated[str, Meta(description="Far in the future, even if the model is unloaded earlier.")]
    size_vram: int = 0
    context_length: Annotated[int, Meta(description="Most tokens of a text; 0 if the model takes no text.")]


class OllamaPsAnswer(msgspec.Struct, frozen=True):
    """The loaded models."""

    models: list[OllamaRunningModel]


class OllamaShowRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A model to describe. Unknown fields are ignored."""

    model: Annotated[ModelField | None, Meta(description="Name of the model.")] = None
    name: _OldName = None


class OllamaShowAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A loaded model."""

    license: str = ""
    modelfile: str
    parameters: str = ""
    template: str = ""
    details: OllamaDetails
    model_info: Annotated[
        dict[str, Any], Meta(description="Architecture, most tokens of a text and width of a vector, in GGUF's keys.")
    ]
    capabilities: Annotated[list[str], Meta(description="`embedding` if the model embeds texts.")]
    modified_at: str


class OllamaVersionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Versions."""

    version: Annotated[str, Meta(description="The version of Ollama whose API this is.")]
    ingrain: Annotated[str, Meta(description="The version of this server.")]


class OllamaPullRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A model to load. Unknown fields are ignored."""

    model: Annotated[ModelField | None, Meta(description="Name of the model on the hub.")] = None
    name: _OldName = None
    stream: Annotated[bool | None, Meta(description="False for one answer at the end (default true: progress).")] = None
    insecure: Annotated[bool | None, Meta(description="Not used.")] = None
    library: Annotated[
        Library | None,
        Meta(
            description="Source library of a model that is not in the repository yet (default: "
            "`sentence_transformers`); not in Ollama's API."
        ),
    ] = None


class OllamaProgressAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Progress of a load, one object a line; at the end the status is `success`."""

    status: str
    digest: Annotated[str, Meta(description="Identifies the download.")] = ""
    total: Annotated[int, Meta(description="Bytes of the download.")] = 0
    completed: Annotated[int, Meta(description="Bytes that have arrived.")] = 0


class OllamaDeleteRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A model to delete. Unknown fields are ignored."""

    model: Annotated[ModelField | None, Meta(description="Name of the model.")] = None
    name: _OldName = None


class OllamaGenerateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request for text, which is refused."""

    model: fields.Name


class OllamaErrorAnswer(msgspec.Struct, frozen=True):
    """What went wrong."""

    error: str
