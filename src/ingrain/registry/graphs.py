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
"""Writes a graph's ``config.pbtxt`` for the engine in use and a layout; returns whether that changed it; blocks on
disk."""

Settle = Callable[[int | None], Awaitable[None]]
"""Waits until every process that serves knows what is loaded now; with a slot's number, until each serves its model."""

log = logging.getLogger("ingrain.registry")


@dataclass(slots=True, kw_only=True)
class EngineGraphs:
    """The graphs in the engine, and what users are told of its counts.

    Attributes:
        timeout_s: Seconds that the engine may take to load one graph.
        ledger: Keeps batches of tunings out of the engine's statistics.
    """

    engine: Engine
    prepare: PrepareGraph
    timeout_s: float
    settle: Settle
    ledger: Ledger = field(default_factory=Ledger, init=False)

    async def load(self, manifest: Manifest, graph: Graph, layout: Layout, *, anew: bool = True) -> None:
        """Have the engine load a graph in a layout; ``anew`` unloads it first even if its configuration is the same.

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
        """Unload a model's graphs once no process sends batches to them any more; the engine finishes those it has."""
        self.ledger.forget(graph.name for graph in graphs)
        await self.settle(None)
        for graph in graphs:
            try:
                await self.engine.unload(graph.name)
            except EngineError as error:
                log.warning("Model %r is dropped, but the engine did not unload it: %s", model, error.message)

    async def statistics(self) -> list[GraphStatistics]:
        """Return the engine's counts of each loaded graph, without those of tunings.

        Raises:
            EngineUnavailableError: The engine does not answer.
        """
        return self.ledger.told(await self.engine.statistics())


def too_slow() -> EngineUnavailableError:
    """Return the error for a graph that was not loaded in time."""
    return EngineUnavailableError("The engine did not load the model in time.", retry_after_s=30)
