"""The part of the manifest that says how each graph runs fastest on one machine."""

from __future__ import annotations

import msgspec

from ingrain.vocabulary import Role, TuningStep


class Layout(msgspec.Struct, frozen=True):
    """How many copies of a graph run side by side, and how many CPU threads each has (0: ONNX Runtime's choice)."""

    copies: int
    threads: int


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """How a graph is executed.

    Attributes:
        layout: Copies and threads.
        max_items: Most items in a batch.
        max_tokens: Most tokens in a batch, padding included; 0 where the graph takes pictures.
    """

    layout: Layout
    max_items: int
    max_tokens: int = 0


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement.

    Attributes:
        step: The kind of variation.
        execution: The measured execution.
        items_per_s: Items a second, the median of the rounds.
        ratio: Of that to what it was compared with in the same rounds: the default in ``layout`` and ``check``, the
            best until then in ``tokens`` and ``items``.
    """

    step: TuningStep
    execution: Execution
    items_per_s: float
    ratio: float


class GraphTuning(msgspec.Struct, frozen=True, kw_only=True):
    """The result for one graph.

    Attributes:
        role: Which part of the model the graph is.
        default: The execution without a tuning.
        chosen: The fastest one; the default where none was certainly faster.
        ratio: Of the items a second of ``chosen`` to those of ``default``; 1 where they are the same.
        curve: All measurements, in order.
    """

    role: Role
    default: Execution
    chosen: Execution
    ratio: float
    curve: tuple[Point, ...] = ()


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """A machine on which a tuning holds.

    Attributes:
        engine: The engine and its backend.
        instance_kind: Triton's word for CPU or GPU.
        cores: Cores that the server may use.
        processor: The processor's name, if it tells one.
    """

    engine: str
    instance_kind: str
    cores: int
    processor: str = ""


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """A tuning of a model.

    Attributes:
        machine: Where it holds.
        graphs_sha256: Of the checksums of all graphs: a model that was made anew has other graphs.
        given: Settings of the operator, by variable; the tuning does not hold under others.
        tuned_at: UTC, ISO 8601.
        seconds: How long it took.
        graphs: The results.
    """

    machine: Machine
    graphs_sha256: str
    given: dict[str, int] = {}
    tuned_at: str
    seconds: float
    graphs: tuple[GraphTuning, ...]
