"""Runs one graph on its engine for a sweep, with batches like those of the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from itertools import repeat
from statistics import median

from ingrain.engine.protocol import Arrays, GraphRunner
from ingrain.repository.manifest import Graph, Manifest
from ingrain.repository.tuning import Execution, Layout
from ingrain.tuning.workload import make_batches, text_batch

_WARM_UP_ITEMS, _PROBE_ITEMS = 16, 32
# Fewer items would make too few batches to measure concurrent execution.
_LEAST_ITEMS, _MOST_ITEMS = 48, 2048
# Batches of two sizes, of texts as long as queries, are timed in turn; the line through both times gives the overhead.
_OVERHEAD_LENGTH, _OVERHEAD_FEW, _OVERHEAD_ROUNDS, _OVERHEAD_BATCHES = 16, 2, 5, 4

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
        devices: int = 1,
        timeout_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._manifest = manifest
        self._graph = graph
        self.lay_out = lay_out
        self.serve = serve
        self._devices = devices
        self._timeout_s = timeout_s
        self._clock = clock
        self._items = _LEAST_ITEMS
        self._batches: dict[tuple[int, int, int, int], list[Arrays]] = {}

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

    async def overhead_tokens(self, execution: Execution) -> int:
        """Measure ``Execution.overhead_tokens`` in the current layout; 0 if the graph takes no texts.

        Raises:
            EngineError, ModelNotLoadedError: The engine failed or lost the graph.
        """
        config = self._manifest.text_of(self._graph)
        if config is None or execution.max_items <= _OVERHEAD_FEW:
            return 0
        length = min(_OVERHEAD_LENGTH, config.max_tokens)
        sizes = (_OVERHEAD_FEW, execution.max_items)
        batches = [text_batch(config, self._graph, [length] * items) for items in sizes]
        seconds: list[list[float]] = [[], []]
        for _ in range(_OVERHEAD_ROUNDS):
            for batch, measured in zip(batches, seconds, strict=True):
                count = _OVERHEAD_BATCHES * execution.layout.copies * self._devices
                measured.append(await self._send_all(repeat(batch, count), execution))
        small, large = map(median, seconds)
        few, many = (items * length for items in sizes)
        # The time is proportional to `overhead + tokens`.
        overhead = (small * many - large * few) / (large - small) if large > small else float("inf")
        return round(min(max(1.0, overhead), execution.max_tokens))

    async def run(self, execution: Execution) -> float:
        """Run one pass with as many batches in flight as the batcher has; return items per second.

        Raises:
            EngineError, ModelNotLoadedError: The engine failed or lost the graph.
        """
        return await self._run_items(execution, self._items)

    async def _run_items(self, execution: Execution, items: int) -> float:
        return items / await self._send_all(iter(await self._make(execution, items)), execution)

    async def _send_all(self, waiting: Iterator[Arrays], execution: Execution) -> float:
        """Run batches, as many at once as the batcher has in flight; return the seconds."""
        started = self._clock()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(execution.layout.copies * self._devices + 1):
                    group.create_task(self._send(waiting))
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from failed.exceptions[0].__cause__
        return max(1e-9, self._clock() - started)

    async def _make(self, execution: Execution, items: int) -> list[Arrays]:
        key = items, execution.max_items, execution.max_tokens, execution.overhead_tokens
        if key not in self._batches:
            self._batches[key] = await asyncio.to_thread(make_batches, self._manifest, self._graph, execution, items)
        return self._batches[key]

    async def _send(self, waiting: Iterator[Arrays]) -> None:
        for batch in waiting:
            graph = self._graph
            run = partial(self._engine.infer, graph.name, batch, timeout_s=self._timeout_s)
            await (run(outputs=graph.names_of([graph.role])) if graph.heads else run())
