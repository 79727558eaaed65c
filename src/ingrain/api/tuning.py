"""Bodies of the routes that tune models."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from ingrain.api.fields import LibraryField, Name, Pretrained
from ingrain.api.types import Answer, Request
from ingrain.vocabulary import Role, TuningStep

Seconds = Annotated[
    Annotated[float, Meta(ge=1, le=3600)] | None,
    Meta(description="How long it should take (default 30); a goal, for what has begun is finished."),
]


class TuneModelRequest(Request, frozen=True, kw_only=True):
    """A loaded model to tune."""

    name: Name
    library: LibraryField = None
    pretrained: Pretrained = None
    seconds: Seconds = None


class Execution(Answer, frozen=True, kw_only=True):
    """How a graph is executed; ``threads`` 0: ONNX Runtime's choice; no ``maxTokens`` where it takes pictures."""

    copies: int
    threads: int
    max_items: int
    max_tokens: int | None


class TuningPoint(Answer, frozen=True, kw_only=True):
    """One measurement: what was varied, what was measured, and its ratio to what it was compared with."""

    step: TuningStep
    execution: Execution
    items_per_s: float
    ratio: float


class GraphTuning(Answer, frozen=True, kw_only=True):
    """One graph: how it is executed now and by default; what its tuning chose, how much faster that was, the curve."""

    role: Role
    in_effect: Execution
    default: Execution
    chosen: Execution | None
    ratio: float | None
    curve: list[TuningPoint]


class ModelTuningAnswer(Answer, frozen=True, kw_only=True):
    """How a model's graphs are executed here; ``tunedAt`` is null where the model has no tuning that fits.

    ``given`` are the settings of the operator that win over a tuning.
    """

    message: str
    name: str
    tuned_at: str | None
    seconds: float | None
    given: dict[str, int]
    graphs: list[GraphTuning]
