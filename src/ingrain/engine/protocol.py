"""Protocols of an engine, which loads graphs from the model repository and runs them, and types of its statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ingrain.repository.execution_policy import Backend
from ingrain.repository.manifest import Graph
from ingrain.repository.tuning import Layout

ServerState = Literal["READY", "LOADING", "UNLOADING", "UNAVAILABLE"]
"""State of a server, in Triton's terms for models."""

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


@runtime_checkable
class Weighed(Protocol):
    """An engine that can measure how much memory a loaded graph takes."""

    def memory_bytes(self, name: str) -> int | None:
        """Return the resident memory that runs a graph, in bytes; None if it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedAs:
    """How a graph is loaded: its layout, the largest number of items of a batch, and in how many servers."""

    layout: Layout
    max_items: int
    servers: int = 1


@runtime_checkable
class Shared(Protocol):
    """An engine that other servers use too: what is loaded is served as it is, whichever server has loaded it."""

    async def loaded_as(self, name: str) -> LoadedAs | None:
        """Return how a graph is loaded; None if it is not.

        Raises:
            EngineError: The engine does not respond.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCounts:
    """One of several servers of an engine, and what this process has sent to it.

    Attributes:
        state: ``READY`` if it has its graphs, ``LOADING`` if it lacks some, ``UNLOADING`` if it gets no more batches,
            ``UNAVAILABLE`` if it does not respond; None if another process knows.
        graphs: Number of graphs that it has.
        batches: Batches that were sent to it.
        lost: Of those, the ones that it lost and another server had to run.
    """

    state: ServerState | None = None
    graphs: int = 0
    batches: int = 0
    lost: int = 0

    def __add__(self, other: ServerCounts) -> ServerCounts:
        return ServerCounts(
            state=self.state or other.state,
            graphs=max(self.graphs, other.graphs),
            batches=self.batches + other.batches,
            lost=self.lost + other.lost,
        )


@runtime_checkable
class Several(Protocol):
    """An engine, or a part of one, that sends each batch to one of several servers."""

    def servers(self) -> dict[str, ServerCounts]:
        """Return the servers by address."""


Hold = Callable[[str], AbstractAsyncContextManager[None]]
"""Holds the lock of a model by its key, so that no process loads or unloads its graphs meanwhile."""


@runtime_checkable
class SelfLoading(Protocol):
    """An engine that loads graphs by itself, into servers that come back, while others serve.

    Attributes:
        hold: Holds the lock of a model; set before the engine starts.
    """

    hold: Hold

    def forget(self, name: str) -> None:
        """Load a graph no more without being asked to, because another server has unloaded it on purpose."""
