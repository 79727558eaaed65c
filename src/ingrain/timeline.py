"""The times of a request's stages, which whoever works on the request adds to the timeline of the running context."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Literal, Protocol, get_args

import msgspec

Stage = Literal["parse", "fetch", "decode", "tokenize", "queue", "infer", "finish", "write"]
STAGES: tuple[Stage, ...] = get_args(Stage)


class SentBatch(Protocol):
    """A batch that the engine computes, as a part of traces.

    Attributes:
        traceparent: Identifies the batch for the engine, as W3C's header of that name does.
    """

    traceparent: str

    def end(self, *, failed: bool) -> None:
        """Note that the batch has come back."""


class Trace(Protocol):
    """The trace of a request, if it has one."""

    def send_batch(self, others: Sequence[Trace], *, items: int, tokens: int) -> SentBatch | None:
        """Begin a batch of this request; return None if the trace has no more room.

        Args:
            others: Traces of the other requests in the batch.
            items: Items in the batch.
            tokens: Tokens of these items, without padding.
        """
        ...


class Interval(msgspec.Struct):
    """When a stage ran, in seconds by ``time.perf_counter``.

    A stage may run several times, and side by side with itself. ``busy_s`` is the time in which it ran.
    """

    begin: float
    end: float
    busy_s: float


class Timeline(msgspec.Struct, eq=False):
    """The stages of one request, and what is known of it.

    Attributes:
        begun: Time at which the request's head had arrived, by ``time.perf_counter``.
        latest: End of the stage that ended last.
        stages: The stages so far.
        model: Name of the model; "" if the request has none.
        task: Name of the task; "" if the request has none.
        items: Number of items.
        tokens: Number of tokens of the texts.
        trace: Trace of the request; None for none.
    """

    begun: float
    latest: float
    stages: dict[Stage, Interval] = {}
    model: str = ""
    task: str = ""
    items: int = 0
    tokens: int = 0
    trace: Trace | None = None

    def begin_task(self, model: str, task: str, items: int) -> None:
        """Note a task of the request, and with the first one that the request has been parsed."""
        if not self.task:
            self.model, self.task = model, task
            self.add("parse", self.latest, time.perf_counter())
        self.items += items

    def tokenized(self, tokens: int, began: float) -> None:
        """Note that texts were tokenized, from ``began`` until now."""
        self.tokens += tokens
        self.add("tokenize", began, time.perf_counter())

    def add(self, stage: Stage, begin: float, end: float) -> None:
        """Add a time in which a stage ran; of the times of one stage those that end sooner come first."""
        interval = self.stages.get(stage)
        if interval is None:
            self.stages[stage] = Interval(begin, end, end - begin)
        else:
            interval.busy_s += max(0.0, end - max(begin, interval.end))
            interval.begin, interval.end = min(begin, interval.begin), max(end, interval.end)
        self.latest = max(self.latest, end)


current: ContextVar[Timeline | None] = ContextVar("timeline", default=None)
"""Timeline of the request that this context works on; None if nobody wants to know."""

traceparent: ContextVar[str | None] = ContextVar("traceparent", default=None)
"""Identifies the batch that this context computes; None if it belongs to no trace."""
