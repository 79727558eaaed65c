"""Types of the protocol's JSON bodies."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

Parameters = Annotated[
    dict[str, Any] | None,
    Meta(
        description="Options: `normalize`, `n_dims`, `output_dtype`, `prompt`, `prompt_name`, `input_type`, "
        "`truncate`, `top_k`, `min_weight`, `raw_scores`, `library`, `pretrained`, as the fields of Ingrain's own API; "
        "`binary_data_output` for all outputs as binary data. Unknown ones are refused."
    ),
]


class KServeErrorAnswer(msgspec.Struct):
    """Body of an error."""

    error: str


class KServeInput(msgspec.Struct, frozen=True):
    """An input tensor."""

    name: str
    shape: Annotated[
        list[Annotated[int, Meta(ge=0)]], Meta(description="[N] or [N, 1], where N is the number of elements.")
    ]
    datatype: Annotated[str, Meta(description="`BYTES`: all inputs are texts or images.")]
    parameters: Annotated[
        dict[str, Any] | None, Meta(description="`binary_data_size` if the data follow the JSON as binary data.")
    ] = None
    data: Annotated[
        list[Any] | None,
        Meta(description="Texts, or images as http(s) URLs, data URIs or base64; flat or one list a row."),
    ] = None


class KServeOutput(msgspec.Struct, frozen=True):
    """An output tensor that the request asks for."""

    name: str
    parameters: Annotated[
        dict[str, Any] | None,
        Meta(description="`binary_data`, or `classification` for the best K labels instead of probabilities."),
    ] = None


class KServeInferRequest(msgspec.Struct, frozen=True):
    """A request for inference."""

    inputs: Annotated[list[KServeInput], Meta(min_length=1)]
    id: Annotated[str | None, Meta(description="Returned in the response.")] = None
    parameters: Parameters = None
    outputs: Annotated[
        list[KServeOutput] | None, Meta(description="Outputs to return; the model's main ones by default.")
    ] = None


class KServeTensor(msgspec.Struct, omit_defaults=True):
    """An output tensor; ``data`` are its elements, row by row, unless they follow the JSON as binary data."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] | None = None
    data: list[Any] | None = None


class KServeInferAnswer(msgspec.Struct, omit_defaults=True):
    """The response to a request for inference; ``truncated_texts`` in ``parameters`` counts truncated texts."""

    model_name: str
    model_version: str
    outputs: list[KServeTensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None


class KServeTensorMetadata(msgspec.Struct, omit_defaults=True):
    """Describes an input or an output; -1 is any size. ``labels`` in ``parameters`` names the classes."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] | None = None


class KServeModelAnswer(msgspec.Struct):
    """Describes a model."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[KServeTensorMetadata]
    outputs: list[KServeTensorMetadata]


class KServeServerAnswer(msgspec.Struct):
    """Describes the server."""

    name: str
    version: str
    extensions: list[str]


class KServeLiveAnswer(msgspec.Struct):
    """Says that the server lives."""

    live: bool


class KServeReadyAnswer(msgspec.Struct):
    """Says that the server is ready."""

    ready: bool


class KServeModelReadyAnswer(msgspec.Struct):
    """Says that a model is ready."""

    name: str
    ready: bool


class KServeIndexRequest(msgspec.Struct, frozen=True):
    """A request for the index of models; an empty body is one, too."""

    ready: Annotated[bool | None, Meta(description="True to leave out models that are not ready.")] = None


class KServeIndexEntry(msgspec.Struct):
    """A model with its state."""

    name: str
    version: str
    state: str
    reason: str


KServeIndexAnswer = list[KServeIndexEntry]


class KServeModelsAnswer(msgspec.Struct):
    """The names of the models that are ready."""

    models: list[str]
