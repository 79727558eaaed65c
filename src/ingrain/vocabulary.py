"""Types with fixed values that the API, the manifest and other modules share."""

from __future__ import annotations

from typing import Literal

Library = Literal["sentence_transformers", "open_clip", "timm"]
"""A source library of models."""

Role = str
"""Function of a graph in a model: a key of ``ingrain.roles.ROLES``."""

Task = Literal["embed", "classify", "rerank", "embed_sparse", "embed_multi_vector", "embed_tokens"]
"""Purpose of a model: what it computes for a text, an image or a pair of texts."""

Output = Literal["dense", "sparse", "multiVector"]
"""What a request gets of a text: a dense vector, a sparse one, or a vector for each token."""

Precision = Literal["fp32", "fp16", "int8", "int8-safe"]
"""Number format in which graphs compute."""

DType = Literal["FP32", "FP16", "INT64", "INT32", "UINT8"]
"""Element type of a tensor, named as in Triton."""

InputType = Literal["query", "document"]
"""Side of a search on which a text stands."""

Plane = Literal["inference", "model"]
"""A port of the server: ``inference`` runs models, ``model`` loads, deletes and describes them."""

Scope = Literal["infer", "models", "metrics"]
"""What an API key opens: the inference routes, the routes that load and change models, or the metrics."""

TuningStep = Literal["layout", "tokens", "items", "padding", "check"]
"""Stage of a tuning: copies and threads, tokens of a batch, items of a batch, or the final comparison."""
