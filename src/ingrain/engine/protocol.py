"""The protocol of an engine, which loads graphs from the model repository and runs them, and of its statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ingrain.repository.execution_policy import Backend
from ingrain.repository.manifest import Graph
from ingrain.repository.tuning import Layout

Array = NDArray[np.generic]
Arrays = Mapping[str, Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    """How often something happened and how long it took in all."""

    count: int = 0
    ns: int = 0

    def __add__(self, other: Duration) -> Duration:
        return Duration(count=self.count + other.count, ns=self.ns + other.ns)

    def __sub__(self, other: Duration) -> Duration:
        return Duration(count=self.count - other.count, ns=self.ns - other.ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStatistics:
    """Executions of one batch size."""

    batch_size: int
    compute_input: Duration = Duration()
    compute_infer: Duration = Duration()
    compute_output: Duration = Duration()


DURATIONS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")
"""What Triton measures of each graph."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphStatistics:
    """What an engine counted for one graph since it was loaded, in Triton's terms.

    Attributes:
        name: The graph's name.
        version: Triton's version of the model, as text.
        last_inference_ms: Unix time of the last inference in milliseconds, 0 if none.
        inference_count: Items inferred.
        execution_count: Batches executed.
        durations: By each word of ``DURATIONS``.
        batches: By batch size.
    """

    name: str
    version: str
    last_inference_ms: int
    inference_count: int
    execution_count: int
    durations: Mapping[str, Duration]
    batches: tuple[BatchStatistics, ...]


class GraphRunner(Protocol):
    """Runs graphs that are loaded: the part of an engine that requests use."""

    instances: int
    """How many batches of a graph without a layout of its own run at once; the batcher keeps one more in flight."""

    async def live(self) -> bool:
        """Tell whether the engine answers."""

    async def infer(
        self, name: str, inputs: Arrays, *, timeout_s: float | None = None, alone: bool = False
    ) -> dict[str, Array]:
        """Run one batch.

        Args:
            name: The graph's name.
            inputs: Arrays by input name; axis 0 is the batch ``B``; dtypes and ranks as the graph declares.
            timeout_s: Seconds the caller waits.
            alone: No other batch is in the engine, and this one may have all cores.

        Returns:
            Arrays by output name, axis 0 ``B``.

        Raises:
            ModelNotLoadedError: The graph is not loaded.
            EngineUnavailableError: The engine died or does not answer; the batch may be sent again.
            DeadlineExceededError: ``timeout_s`` passed.
            InferenceError: The engine failed on this batch.
        """

    async def statistics(self) -> list[GraphStatistics]:
        """Return what was counted for each loaded graph."""


class Engine(GraphRunner, Protocol):
    """Loads graphs and runs them. One contract suite (``tests/contract``) runs against every implementation.

    The registry writes the ``config.pbtxt`` of a graph before it calls ``load``.
    """

    @property
    def backend(self) -> Backend | None:
        """Which Triton backend the graphs' ``config.pbtxt`` must name; None where the engine reads no such file."""

    async def start(self) -> None:
        """Start or reach the engine.

        Raises:
            EngineUnavailableError: It cannot be started or reached in time.
        """

    async def close(self) -> None:
        """End what was started; later calls raise ``EngineUnavailableError``."""

    async def load(self, graph: Graph, layout: Layout | None = None) -> None:
        """Load a graph whose folder is complete; loading a loaded graph changes nothing.

        Args:
            graph: What to load.
            layout: Its copies and threads, as its ``config.pbtxt`` has them; None for what the engine was made with.

        Raises:
            EngineUnavailableError: The engine does not answer.
            EngineError: The engine refuses the graph.
        """

    async def unload(self, name: str) -> None:
        """Unload a graph and wait until it is gone; unloading an unknown one changes nothing."""

    async def ready(self, name: str) -> bool:
        """Tell whether a graph can be inferred now."""

    def on_restart(self, callback: Callable[[], None]) -> None:
        """Register a callback, called in the event loop each time the engine is back and has forgotten its graphs."""
