"""Answers about operations: loads that one request starts and others follow."""

from __future__ import annotations

import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ingrain.api.types import Answer
from ingrain.vocabulary import Library


class OperationAnswer(Answer, frozen=True, kw_only=True):
    """A load, running or ended."""

    id: str
    name: Annotated[str, Meta(description="Name of the model.")]
    library: Library
    pretrained: str | msgspec.UnsetType = msgspec.UNSET
    state: Literal["running", "succeeded", "failed", "cancelled"]
    phase: Annotated[
        Literal["queued", "download", "read", "export", "verify", "tune", "load"],
        Meta(
            description="What is done, or was done last. `queued`: other conversions come first. `load`: the engine "
            "loads the graphs, or the load begins."
        ),
    ]
    detail: Annotated[str, Meta(description="What the phase works on; may be empty.")] = ""
    done: Annotated[int, Meta(description="Amount that is done in this phase; it never goes back.")] = 0
    total: Annotated[int, Meta(description="Amount of the phase; 0 if unknown.")] = 0
    unit: Annotated[str, Meta(description="Unit of both: `bytes`, `graphs`, `cases`.")] = ""
    queue_position: Annotated[
        int | None, Meta(description="Conversions that come before this one; null if it does not wait for others.")
    ] = None
    attempt: Annotated[int, Meta(description="1, and 1 more each time the conversion starts again.")] = 1
    last_error: Annotated[str | None, Meta(description="Why the load has failed.")] = None
    error_code: Annotated[str | None, Meta(description="Code of that error.")] = None
    started_at: datetime.datetime
    ended_at: datetime.datetime | None = None


class OperationsAnswer(Answer, frozen=True, kw_only=True):
    """The operations, the last one first."""

    operations: list[OperationAnswer]
