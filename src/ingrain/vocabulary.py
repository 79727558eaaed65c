"""The words that the API, the manifest and the code between them share."""

from __future__ import annotations

from typing import Literal

Library = Literal["sentence_transformers", "open_clip", "timm"]
"""A source library, from whose models graphs are made."""

Role = str
"""What one graph of a model does: a key of ``ingrain.roles.ROLES``."""

Task = Literal["embed", "classify"]
"""What a model as a whole is for."""

Precision = Literal["fp32", "fp16", "int8", "int8-safe"]
"""What graphs compute in."""

DType = Literal["FP32", "FP16", "INT64", "INT32", "UINT8"]
"""Element type of a tensor, in Triton's words."""

Plane = Literal["inference", "model"]
"""A port of the server: one answers requests to models, the other loads and describes them."""

TuningStep = Literal["layout", "tokens", "items", "check"]
"""What is varied: copies and threads, tokens in a batch, or items in a batch; ``check`` is the last comparison."""
