"""Request and response bodies of the tuning routes."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from ingrain.api.types import Answer, ModelRequest
from ingrain.vocabulary import Role, TuningStep

Seconds = Annotated[
    Annotated[float, Meta(ge=1, le=3600)] | None,
    Meta(description="Target duration of the tuning (default 30); a measurement that has begun is finished."),
]


class TuneModelRequest(ModelRequest, frozen=True, kw_only=True):
    """A loaded model to tune."""

    seconds: Seconds = None


class Execution(Answer, frozen=True, kw_only=True):
    """Execution settings of a graph; ``threads`` 0 is ONNX Runtime's choice.

    ``overheadTokens`` are the tokens that take as long as the part of a batch's time that does not depend on its size:
    the more, the more padding pays. It and ``maxTokens`` are null for images.
    """

    copies: int
    threads: int
    max_items: int
    max_tokens: int | None
    overhead_tokens: int | None


class TuningPoint(Answer, frozen=True, kw_only=True):
    """One measurement: the execution settings, their throughput, and its ratio to the settings compared with."""

    step: TuningStep
    execution: Execution
    items_per_s: float
    ratio: float


class GraphTuning(Answer, frozen=True, kw_only=True):
    """One graph: its current, default and chosen settings, the speed-up of the latter, and all measurements."""

    role: Role
    in_effect: Execution
    default: Execution
    chosen: Execution | None
    ratio: float | None
    curve: list[TuningPoint]


class ModelTuningAnswer(Answer, frozen=True, kw_only=True):
    """Execution settings of a model's graphs; ``tunedAt`` is null if the model has no tuning for this server.

    ``given`` are the operator's settings that override a tuning.
    """

    message: str
    name: str
    tuned_at: str | None
    seconds: float | None
    given: dict[str, int]
    graphs: list[GraphTuning]
