"""The inputs and outputs of each model."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ingrain.models.loaded import LoadedModel
from ingrain.server.dialects.kserve.types import KServeTensorMetadata as Tensor
from ingrain.tasks.embed_sparse import SPARSE, SPARSE_QUERIES
from ingrain.tasks.score import ROLE as SCORER
from ingrain.tasks.token_vectors import MULTI_VECTOR, TOKENS

PLATFORM = "ingrain"
VERSION = "1"
_N = -1


class Interface(msgspec.Struct, frozen=True):
    """What a model takes and gives; which inputs a request needs is a matter of the task."""

    inputs: list[Tensor]
    outputs: list[Tensor]


def interface_of(model: LoadedModel) -> Interface:
    """Return the inputs and outputs of a model."""
    manifest = model.manifest
    roles, width, labels = manifest.roles, manifest.embedding_size, list(manifest.labels)
    inputs: list[str] = []
    outputs: list[Tensor] = []
    if SCORER in roles and len(labels) <= 1:
        inputs, outputs = ["query", "document"], [_floats("score")]
    elif SCORER in roles:
        inputs = ["text", "text_pair"]
        outputs = [_floats("probability", len(labels), labels=labels)]
    elif "classifier" in roles:
        inputs, outputs = ["image"], [_floats("probability", len(labels), labels=labels)]
    if {"text_encoder", SPARSE, SPARSE_QUERIES, MULTI_VECTOR, TOKENS} & set(roles):
        inputs.append("text")
    if "image_encoder" in roles:
        inputs.append("image")
    if {"text_encoder", "image_encoder"} & set(roles):
        outputs.append(_floats("embedding", width))
    if {"text_encoder", "image_encoder"} <= set(roles):
        outputs += [_floats("text_embedding", width), _floats("image_embedding", width)]
    if SPARSE in roles:
        outputs += [Tensor(name="indices", datatype="INT32", shape=[_N, _N]), _floats("values", _N)]
    for role in (MULTI_VECTOR, TOKENS):
        if role in roles:
            outputs.append(_floats("token_embedding", manifest.width_of(role)))
            outputs.append(Tensor(name="token_count", datatype="INT32", shape=[_N]))
    if MULTI_VECTOR in roles:
        inputs += ["query", "document"]
        outputs.append(_floats("score"))
    return Interface([Tensor(name=name, datatype="BYTES", shape=[_N]) for name in inputs], outputs)


def names(tensors: Sequence[Tensor]) -> str:
    """Return the names of tensors, for errors."""
    return ", ".join(tensor.name for tensor in tensors)


def _floats(name: str, *width: int, labels: list[str] | None = None) -> Tensor:
    parameters = {"labels": labels} if labels else None
    return Tensor(name=name, datatype="FP32", shape=[_N, *width], parameters=parameters)
