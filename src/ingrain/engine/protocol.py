"""Protocols of an engine, which loads graphs from the model repository and runs them, and types of its statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ingrain.repository.execution_policy import Backend
from ingrain.repository.manifest import Graph
from ingrain.repository.tuning import Layout

Array = NDArray[np.generic]
Arrays = Mapping[str, Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    """Number of events and their total time."""

    count: int = 0
    ns: int = 0

    def __add__(self, other: Duration) -> Duration:
        return Duration(count=self.count + other.count, ns=self.ns + other.ns)

    def __sub__(self, other: Duration) -> Duration:
        return Duration(count=self.count - other.count, ns=self.ns - other.ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStatistics:
    """Times of all batches of one size."""

    batch_size: int
    compute_input: Duration = Duration()
    compute_infer: Duration = Duration()
    compute_output: Duration = Duration()


DURATIONS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")
"""Durations that Triton measures for each graph."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphStatistics:
    """Counts of one graph since it was loaded, in Triton's terms.

    Attributes:
        name: The graph's name.
        version: Triton's version of the model, as text.
        last_inference_ms: Unix time of the last inference in milliseconds, 0 if none.
        inference_count: Items inferred.
        execution_count: Batches executed.
        durations: One for each name in ``DURATIONS``.
        batches: One for each batch size, ascending.
    """

    name: str
    version: str
    last_inference_ms: int
    inference_count: int
    execution_count: int
    durations: Mapping[str, Duration]
    batches: tuple[BatchStatistics, ...]


class GraphRunner(Protocol):
    """Runs loaded graphs; the part of an engine that serving requests needs."""

    instances: int
    """How many batches of one graph run at once by default; the batcher keeps one more in flight."""

    async def live(self) -> bool:
        """Return whether the engine responds."""

    async def infer(
        self,
        name: str,
        inputs: Arrays,
        *,
        timeout_s: float | None = None,
        alone: bool = False,
        outputs: Sequence[str] | None = None,
    ) -> dict[str, Array]:
        """Run one batch.

        Args:
            name: The graph's name.
            inputs: Arrays by input name; axis 0 is the batch ``B``; dtypes and ranks match the graph's inputs.
            timeout_s: Seconds the caller waits.
            alone: Whether no other batch is in the engine, so that this one may use all cores.
            outputs: Names of the outputs that are needed; None for all.

        Returns:
            Arrays by output name; axis 0 is ``B``.

        Raises:
            ModelNotLoadedError: The graph is not loaded.
            EngineUnavailableError: The engine died or does not respond; the caller may retry the batch.
            DeadlineExceededError: ``timeout_s`` passed.
            EngineMemoryError: The engine has too little memory for this batch; a smaller one may succeed.
            InferenceError: The engine failed on this batch.
        """

    async def statistics(self) -> list[GraphStatistics]:
        """Return the statistics of each loaded graph."""


class Engine(GraphRunner, Protocol):
    """Loads and runs graphs. The contract tests (``tests/contract``) run against every implementation.

    The registry writes the ``config.pbtxt`` of a graph before it calls ``load``.
    """

    @property
    def backend(self) -> Backend | None:
        """Triton backend to write into the graphs' ``config.pbtxt``; None if the engine does not read that file."""

    async def start(self) -> None:
        """Start the engine, or connect to it.

        Raises:
            EngineUnavailableError: The engine cannot be started or reached in time.
        """

    async def close(self) -> None:
        """Stop the engine if ``start`` started it; later calls raise ``EngineUnavailableError``."""

    async def load(self, graph: Graph, layout: Layout | None = None) -> None:
        """Load a graph whose folder is complete; do nothing if it is loaded.

        Args:
            graph: The graph.
            layout: Number of copies and threads, as in the graph's ``config.pbtxt``; None for the engine's default.

        Raises:
            EngineUnavailableError: The engine does not respond.
            EngineError: The engine cannot load the graph.
        """

    async def unload(self, name: str) -> None:
        """Unload a graph and wait until the engine has freed it; do nothing if it is not loaded."""

    async def ready(self, name: str) -> bool:
        """Return whether the graph can run batches now."""

    def on_restart(self, callback: Callable[[], None]) -> None:
        """Register a callback that runs in the event loop each time the engine has restarted and lost its graphs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedAs:
    """How a graph is loaded: its layout, and the largest number of items of a batch."""

    layout: Layout
    max_items: int


@runtime_checkable
class Shared(Protocol):
    """An engine that other servers use too: what is loaded is served as it is, whichever server has loaded it."""

    async def loaded_as(self, name: str) -> LoadedAs | None:
        """Return how a graph is loaded; None if it is not.

        Raises:
            EngineError: The engine does not respond.
        """
