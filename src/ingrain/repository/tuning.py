"""The part of the manifest with the fastest execution of each graph, by machine."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from ingrain.vocabulary import Role, TuningStep

_MOST_COPIES = 4096


class Layout(msgspec.Struct, frozen=True):
    """The number of batches of a graph that run at the same time, and of CPU threads for each.

    On this machine's CPU batches with one thread share one copy of the weights; otherwise each has its own.

    Attributes:
        copies: Batches at the same time.
        threads: CPU threads of each; 0: ONNX Runtime's choice.
    """

    copies: Annotated[int, Meta(ge=1, le=_MOST_COPIES)]
    threads: Annotated[int, Meta(ge=0, le=_MOST_COPIES)]


class Execution(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a graph is executed.

    Attributes:
        layout: Copies and threads.
        max_items: Largest number of items in a batch.
        max_tokens: Largest number of tokens in a batch, padding included; 0 for image graphs.
        overhead_tokens: Tokens that take as long as the part of a batch's time that does not depend on its size; 0 for
            image graphs, and in tunings that did not measure it.
        servers: Number of servers of the engine that have the graph, each in this layout; 1 in tunings.
    """

    layout: Layout
    max_items: Annotated[int, Meta(ge=1)]
    max_tokens: Annotated[int, Meta(ge=0)] = 0
    overhead_tokens: Annotated[int, Meta(ge=0)] = 0
    servers: Annotated[int, Meta(ge=1)] = 1


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement.

    Attributes:
        step: The kind of variation.
        execution: The measured execution.
        items_per_s: Items per second, the median of the rounds.
        ratio: ``items_per_s`` relative to the reference of the same rounds: the default in ``layout`` and ``check``,
            the best so far in ``tokens`` and ``items``.
    """

    step: TuningStep
    execution: Execution
    items_per_s: float
    ratio: float


class GraphTuning(msgspec.Struct, frozen=True, kw_only=True):
    """The result for one graph.

    Attributes:
        role: The part of the model that the graph computes.
        default: The execution without a tuning.
        chosen: The fastest execution; the default if none was certainly faster.
        ratio: Items per second of ``chosen`` relative to ``default``; 1 if they are the same.
        curve: All measurements, in order.
    """

    role: Role
    default: Execution
    chosen: Execution
    ratio: float
    curve: tuple[Point, ...] = ()


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The machine that a tuning is valid for.

    Attributes:
        engine: The engine and its backend.
        instance_kind: Triton's name for CPU or GPU.
        cores: Cores that the server may use.
        processor: The processor's name, if known.
    """

    engine: str
    instance_kind: str
    cores: int
    processor: str = ""


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """A tuning of a model.

    Attributes:
        machine: The machine that the tuning is valid for.
        graphs_sha256: Hash over the checksums of all graphs; a model that was exported again has other graphs.
        given: Settings of the operator, by variable; the tuning is not valid under others.
        tuned_at: UTC, ISO 8601.
        seconds: Duration of the tuning.
        graphs: The results.
    """

    machine: Machine
    graphs_sha256: str
    given: dict[str, int] = {}
    tuned_at: str
    seconds: float
    graphs: tuple[GraphTuning, ...]
