"""Loads the graphs of models into the engine and unloads them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from ingrain.engine.protocol import Engine, GraphStatistics, LoadedAs, SelfLoading, Shared
from ingrain.engine.statistics import Ledger
from ingrain.errors import EngineError, EngineUnavailableError
from ingrain.repository.graph_folder import GraphFolders
from ingrain.repository.manifest import Graph, Manifest
from ingrain.repository.tuning import Execution, Layout
from ingrain.vocabulary import Role

Settle = Callable[[int | None], Awaitable[None]]
"""Waits until every serving process knows the loaded models; with a slot's number, until each serves its model, or has
answered its requests if it is not loaded any more."""

Occasion = Literal["first", "again", "command"]
"""Why a graph is loaded: this server has not loaded it before; the engine has lost it; a user asks for it."""

log = logging.getLogger("ingrain.registry")


@dataclass(slots=True, kw_only=True)
class EngineGraphs:
    """Loads and unloads graphs in the engine, and returns its statistics.

    Several servers may load graphs into a ``Shared`` engine, and their settings may differ. There a loaded graph is
    served as it is loaded. Only a user's command or a first load writes a configuration: if each server loaded graphs
    with its own settings, they would unload each other's graphs without end.

    Attributes:
        folders: Writes the configurations of graphs.
        timeout_s: Timeout in seconds for loading one graph.
        ledger: Removes the batches of tunings from the engine's statistics.
    """

    engine: Engine
    folders: GraphFolders
    timeout_s: float
    settle: Settle
    ledger: Ledger = field(default_factory=Ledger, init=False)

    @property
    def are_shared(self) -> bool:
        """Whether other servers load graphs into the same engine."""
        return isinstance(self.engine, Shared)

    async def load(self, manifest: Manifest, graph: Graph, layout: Layout, occasion: Occasion) -> None:
        """Load a graph, unless a shared engine has it; use this server's layout and settings where they apply.

        Raises:
            EngineError: The engine failed.
            TimeoutError: It took too long.
        """
        async with asyncio.timeout(self.timeout_s):
            if self.are_shared and occasion != "command" and await asyncio.to_thread(self.folders.are_written, graph):
                if await self._loaded_as(graph) is not None:
                    await self.engine.load(graph, layout)
                    return
                if occasion == "again" and await self._load_as_written(graph, layout):
                    return
            if await asyncio.to_thread(self.folders.write, manifest, graph, layout):
                # Triton's reload in place can hang its shutdown when it fails; unload first.
                await self.engine.unload(graph.name)
            await self.engine.load(graph, layout)

    async def load_anew(self, manifest: Manifest, graph: Graph, layout: Layout) -> None:
        """Load a graph in a layout; unload it first even if its configuration is unchanged.

        Raises:
            EngineError: The engine failed.
            TimeoutError: It took too long.
        """
        async with asyncio.timeout(self.timeout_s):
            await asyncio.to_thread(self.folders.write, manifest, graph, layout)
            await self.engine.unload(graph.name)
            await self.engine.load(graph, layout)

    async def differ(self, manifest: Manifest, graph: Graph, layout: Layout) -> bool:
        """Return whether a shared engine has a graph with other settings than this server's."""
        return self.are_shared and await asyncio.to_thread(self.folders.differ, manifest, graph, layout)

    async def within(self, manifest: Manifest, executions: Mapping[Role, Execution]) -> dict[Role, Execution]:
        """Return the executions of a model's loaded graphs, within the limits with which a shared engine has them.

        Raises:
            EngineError: The engine does not respond.
        """
        found = dict(executions)
        for graph in manifest.graphs:
            loaded = await self._loaded_as(graph)
            if loaded is not None:
                max_items = min(found[graph.role].max_items, loaded.max_items or 1)
                found[graph.role] = msgspec.structs.replace(
                    found[graph.role], layout=loaded.layout, max_items=max_items, servers=loaded.servers
                )
        return found

    async def unload(self, model: str, graphs: tuple[Graph, ...], number: int | None = None) -> None:
        """Unload a model's graphs once no process sends batches to them; the engine finishes running batches.

        Args:
            model: The user's name of the model.
            graphs: Its graphs.
            number: Number of its slot, if the slot stays, so that the requests of the model are answered first.
        """
        self.ledger.forget(graph.name for graph in graphs)
        await self.settle(number)
        for graph in graphs:
            try:
                await self.engine.unload(graph.name)
            except EngineError as error:
                log.warning("Model %r is unloaded here, but the engine did not unload it: %s", model, error.message)

    def forget(self, graphs: Iterable[Graph]) -> None:
        """Note that another server has unloaded graphs, so that the engine does not load them again by itself."""
        if isinstance(self.engine, SelfLoading):
            for graph in graphs:
                self.engine.forget(graph.name)

    async def statistics(self) -> list[GraphStatistics]:
        """Return the engine's statistics of each loaded graph, without the batches of tunings.

        Raises:
            EngineUnavailableError: The engine does not answer.
        """
        return self.ledger.told(await self.engine.statistics())

    async def _loaded_as(self, graph: Graph) -> LoadedAs | None:
        return await self.engine.loaded_as(graph.name) if isinstance(self.engine, Shared) else None

    async def _load_as_written(self, graph: Graph, layout: Layout) -> bool:
        """Load a graph as its folder says; return False if the engine refuses that."""
        try:
            await self.engine.load(graph, layout)
        except EngineUnavailableError:
            raise
        except EngineError as error:
            log.warning("Graph %s is written again, because the engine refuses it as it is: %s", graph.name, error)
            return False
        return True


def too_slow() -> EngineUnavailableError:
    """Return the error for a graph that was not loaded in time."""
    return EngineUnavailableError("The engine did not load the model in time.", retry_after_s=30)
