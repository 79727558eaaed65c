"""Changes the layouts of a loaded model's graphs, and keeps requests away while graphs are reloaded."""

from __future__ import annotations

import dataclasses
import logging

from ingrain.errors import IngrainError
from ingrain.registry.graphs import EngineGraphs
from ingrain.registry.slots import Slot
from ingrain.repository.manifest import Graph, Manifest
from ingrain.repository.store import Entry
from ingrain.repository.tuning import Layout
from ingrain.tuning.machine import TuningMachine

log = logging.getLogger("ingrain.registry")


class ModelLayouts:
    """The layouts of an open model's graphs during a tuning or a reset. The user holds the model's lock.

    Attributes:
        slot: The model's slot.
        manifest: The model's manifest when it was loaded.
    """

    def __init__(self, slot: Slot, graphs: EngineGraphs, place: TuningMachine) -> None:
        assert slot.model is not None
        self.slot = slot
        self.manifest = slot.model.manifest
        self._model = slot.model
        self._graphs = graphs
        self._place = place
        self._was_ready = slot.state == "READY"
        self._former = {graph.name: slot.executions[graph.role].layout for graph in self.manifest.graphs}
        # None if a graph's layout is unknown, or the graph may not be loaded.
        self._current: dict[str, Layout | None] = dict(self._former)

    async def change(self, graph: Graph, layout: Layout) -> bool:
        """Load a graph in a layout; return False if it was in this layout already.

        Raises:
            EngineError: The engine failed.
            TimeoutError: It took too long.
        """
        if self._current[graph.name] == layout:
            return False
        # From here on the graph's layout may differ from the slot's executions.
        self.slot.is_displaced = True
        if self._was_ready and self.slot.state == "READY":
            self.slot.state = "LOADING"
            await self._graphs.settle(None)
        self._current[graph.name] = None
        await self._graphs.load_anew(self.manifest, graph, layout)
        self._current[graph.name] = layout
        return True

    async def apply_settings(self, graph: Graph, layout: Layout) -> None:
        """Load a graph in a layout and with this server's settings, which a shared engine may not have it with.

        Raises:
            EngineError: The engine failed.
            TimeoutError: It took too long.
        """
        if await self._graphs.differ(self.manifest, graph, layout):
            self._current[graph.name] = None
        await self.change(graph, layout)

    async def change_all(self, manifest: Manifest) -> None:
        """Load every graph in the layout that a manifest has for this machine."""
        executions = self._place.executions(manifest)
        for graph in manifest.graphs:
            await self.change(graph, executions[graph.role].layout)

    async def serve(self) -> None:
        """Set the model to READY if it was READY at the start."""
        if self._was_ready:
            self.slot.state = "READY"

    async def adopt(self, entry: Entry) -> None:
        """Execute the model according to its stored manifest."""
        await self.change_all(entry.manifest)
        slot = self.slot
        executions = await self._graphs.within(entry.manifest, self._place.executions(entry.manifest))
        slot.model = dataclasses.replace(self._model, manifest=entry.manifest)
        slot.executions = executions
        slot.model.retune(executions)
        slot.is_displaced = False
        await self.serve()
        await self._graphs.settle(None)

    async def restore(self) -> None:
        """Load every graph in its former layout; if the engine fails, the reconciler loads the model again later."""
        try:
            for graph in self.manifest.graphs:
                if not await self._graphs.engine.ready(graph.name):
                    self._current[graph.name] = None
                await self.change(graph, self._former[graph.name])
        except (IngrainError, TimeoutError, OSError) as error:
            log.warning("Model %r is not back in its former layout yet: %s", self.slot.ref.name, error)
            self.slot.is_displaced = True
            self.slot.state = "LOADING"
            return
        self.slot.is_displaced = False
        await self.serve()
