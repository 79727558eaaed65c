"""Runs one graph on its engine for a sweep, with batches like those of the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

from ingrain.engine.protocol import Arrays, GraphRunner
from ingrain.repository.manifest import Graph, Manifest
from ingrain.repository.tuning import Execution, Layout
from ingrain.tuning.workload import make_batches

_WARM_UP_ITEMS, _PROBE_ITEMS = 16, 32
# Fewer items would make too few batches to measure concurrent execution.
_LEAST_ITEMS, _MOST_ITEMS = 48, 2048

LayOut = Callable[[Layout], Awaitable[bool]]
Serve = Callable[[], Awaitable[None]]


class EngineTrack:
    """A ``Track`` on a real engine.

    Args:
        engine: Engine that has the graph loaded.
        manifest: Manifest of the model.
        graph: One of the model's graphs.
        lay_out: Loads the graph in a layout, and returns whether it was reloaded.
        serve: Lets requests use the graph again.
        enough_items: As in ``QueueLimits``.
        devices: Number of processors on which the engine creates each copy of the graph.
        timeout_s: Seconds that one batch may take.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self,
        engine: GraphRunner,
        manifest: Manifest,
        graph: Graph,
        *,
        lay_out: LayOut,
        serve: Serve,
        enough_items: int,
        devices: int = 1,
        timeout_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._manifest = manifest
        self._graph = graph
        self.lay_out = lay_out
        self.serve = serve
        self._enough_items = enough_items
        self._devices = devices
        self._timeout_s = timeout_s
        self._clock = clock
        self._items = _LEAST_ITEMS
        self._batches: dict[tuple[int, int, int], list[Arrays]] = {}

    async def prepare(self, default: Execution, pass_s: float) -> None:
        """Choose the number of items so that a pass takes about ``pass_s`` seconds."""
        await self._run_items(default, _WARM_UP_ITEMS)
        rate = await self._run_items(default, _PROBE_ITEMS)
        self._items = min(_MOST_ITEMS, max(_LEAST_ITEMS, round(rate * pass_s)))

    async def is_alike(self, one: Execution, other: Execution) -> bool:
        """Return whether both produce the same batches."""
        shapes = [
            [array.shape for batch in await self._make(execution, self._items) for array in batch.values()]
            for execution in (one, other)
        ]
        return shapes[0] == shapes[1]

    async def run(self, execution: Execution) -> float:
        """Run one pass with as many batches in flight as the batcher has; return items per second.

        Raises:
            EngineError, ModelNotLoadedError: The engine failed or lost the graph.
        """
        return await self._run_items(execution, self._items)

    async def _run_items(self, execution: Execution, items: int) -> float:
        waiting = iter(await self._make(execution, items))
        started = self._clock()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(execution.layout.copies * self._devices + 1):
                    group.create_task(self._send(waiting))
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from failed.exceptions[0].__cause__
        return items / max(1e-9, self._clock() - started)

    async def _make(self, execution: Execution, items: int) -> list[Arrays]:
        key = items, execution.max_items, execution.max_tokens
        if key not in self._batches:
            self._batches[key] = await asyncio.to_thread(
                make_batches,
                self._manifest,
                self._graph,
                execution,
                items,
                enough_items=self._enough_items,
            )
        return self._batches[key]

    async def _send(self, waiting: Iterator[Arrays]) -> None:
        for batch in waiting:
            await self._engine.infer(self._graph.name, batch, timeout_s=self._timeout_s)
