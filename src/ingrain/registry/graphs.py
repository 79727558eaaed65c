"""Loads the graphs of models into the engine and unloads them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from ingrain.engine.protocol import Engine, GraphStatistics
from ingrain.engine.statistics import Ledger
from ingrain.errors import EngineError, EngineUnavailableError
from ingrain.repository.manifest import Graph, Manifest
from ingrain.repository.tuning import Layout

PrepareGraph = Callable[[Manifest, Graph, Layout], bool]
"""Writes a graph's ``config.pbtxt`` for the engine and a layout; returns True if the file changed. Blocks on disk."""

Settle = Callable[[int | None], Awaitable[None]]
"""Waits until every serving process knows the loaded models; with a slot's number, until each serves its model."""

log = logging.getLogger("ingrain.registry")


@dataclass(slots=True, kw_only=True)
class EngineGraphs:
    """Loads and unloads graphs in the engine, and returns its statistics.

    Attributes:
        timeout_s: Timeout in seconds for loading one graph.
        ledger: Removes the batches of tunings from the engine's statistics.
    """

    engine: Engine
    prepare: PrepareGraph
    timeout_s: float
    settle: Settle
    ledger: Ledger = field(default_factory=Ledger, init=False)

    async def load(self, manifest: Manifest, graph: Graph, layout: Layout, *, anew: bool = True) -> None:
        """Load a graph in a layout; ``anew`` unloads it first even if its configuration is unchanged.

        Raises:
            EngineError: The engine failed.
            TimeoutError: It took too long.
        """
        async with asyncio.timeout(self.timeout_s):
            if await asyncio.to_thread(self.prepare, manifest, graph, layout) or anew:
                # Triton's reload in place can hang its shutdown when it fails; unload first.
                await self.engine.unload(graph.name)
            await self.engine.load(graph, layout)

    async def unload(self, model: str, graphs: tuple[Graph, ...]) -> None:
        """Unload a model's graphs once no process sends batches to them; the engine finishes running batches."""
        self.ledger.forget(graph.name for graph in graphs)
        await self.settle(None)
        for graph in graphs:
            try:
                await self.engine.unload(graph.name)
            except EngineError as error:
                log.warning("Model %r is unloaded here, but the engine did not unload it: %s", model, error.message)

    async def statistics(self) -> list[GraphStatistics]:
        """Return the engine's statistics of each loaded graph, without the batches of tunings.

        Raises:
            EngineUnavailableError: The engine does not answer.
        """
        return self.ledger.told(await self.engine.statistics())


def too_slow() -> EngineUnavailableError:
    """Return the error for a graph that was not loaded in time."""
    return EngineUnavailableError("The engine did not load the model in time.", retry_after_s=30)
