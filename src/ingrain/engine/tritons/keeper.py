"""Connects to one of several Tritons, and gives it the graphs that it should have before it is asked for them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext

from ingrain.engine.tritons.server import Server
from ingrain.engine.tritons.wishes import Wish, Wishes
from ingrain.errors import EngineUnavailableError, IngrainError
from ingrain.repository.names import key_of_graph

logger = logging.getLogger(__name__)

_LOOK_S = 0.25
_CONNECT_AGAIN_S = 1.0
_FIRST_RETRY_S, _LONGEST_RETRY_S = 1.0, 60.0
# A Triton that stood in for another one keeps a model for so long after the other one has it again.
_SURPLUS_S = 30.0


class Keeper:
    """Keeps one Triton as wished.

    Args:
        server: The Triton; ``graphs`` is the set of those that it has as they lie in the repository.
        wishes: What all Tritons should have.
        servers: Returns all Tritons.
        sending: Limits how many Tritons are sent a graph at the same time, for the memory that this takes.
        came_back: Called when the Triton responds, for the first time or again, or has lost a graph.
    """

    def __init__(
        self,
        server: Server,
        wishes: Wishes,
        servers: Callable[[], Sequence[Server]],
        sending: asyncio.Semaphore,
        came_back: Callable[[Server], None],
    ) -> None:
        self.server = server
        self.problem: EngineUnavailableError | None = None
        self._graphs: set[str] = set()
        server.graphs = self._graphs
        self._engine = server.engine
        self._wishes = wishes
        self._servers = servers
        self._sending = sending
        self._tell = came_back
        # Graphs that were unloaded elsewhere while this Triton did not respond: it may still have the old ones.
        self._missed: set[str] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._retries: dict[str, tuple[float, float]] = {}
        self._surplus_since: dict[str, float] = {}
        self._loop = asyncio.create_task(self._run(), name=f"keep the Triton at {server.address}")

    @property
    def lacks(self) -> list[str]:
        """Names of the graphs that the Triton should have and has not."""
        return [
            name
            for name in self._wishes.graphs
            if name not in self._graphs and self.server in self._wishes.placed(name, self._servers())
        ]

    async def close(self) -> None:
        """Close the connection; batches in the Triton fail."""
        tasks = [self._loop, *self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._engine.close()

    async def load(self, wish: Wish) -> None:
        """Load a graph; the caller holds its lock.

        Raises:
            EngineError: The Triton does not respond, or cannot load the graph.
        """
        name = wish.graph.name
        try:
            if name in self._missed:
                await self._engine.unload(name)
                self._missed.discard(name)
            async with self._sending if self._engine.sends_graphs else nullcontext():
                await self._engine.load(wish.graph, wish.layout)
        except BaseException:  # after a cancelled call it is not known either whether the Triton has the graph
            self._graphs.discard(name)
            raise
        self._graphs.add(name)
        self._retries.pop(name, None)

    async def unload(self, name: str) -> None:
        """Unload a graph, later if the Triton does not respond now; the caller holds its lock.

        Raises:
            EngineError: The Triton cannot unload the graph.
        """
        self._graphs.discard(name)
        self._missed.add(name)
        if self.server.is_open:
            try:
                await self._engine.unload(name)
            except EngineUnavailableError:
                return
            self._missed.discard(name)

    async def _run(self) -> None:
        await self._connect()
        self._engine.on_restart(self._came_back)
        self._came_back()
        while True:
            try:
                self._look()
            except Exception:  # the loop must go on, or the Triton would get no graphs any more
                logger.exception("Looking after the Triton at %s failed", self.server.address)
            await asyncio.sleep(_LOOK_S)

    async def _connect(self) -> None:
        while True:
            try:
                await self._engine.start()
                break
            except EngineUnavailableError as error:
                problem = error
            except OSError as error:
                problem = EngineUnavailableError(f"The model repository cannot be read: {error.strerror}")
            except Exception:  # the next try may succeed
                logger.exception("The connection to the Triton at %s could not be prepared", self.server.address)
                problem = EngineUnavailableError(f"Triton at {self.server.address!r} cannot be used.")
            if self.problem is None or self.problem.message != problem.message:
                logger.error("%s", problem.message)
            self.problem = problem
            await self._until_live()
        self.problem = None

    async def _until_live(self) -> None:
        """Wait until the Triton responds; rarer looks than those of the start, as it may be away for long."""
        self._engine.connect()
        is_live = False
        while not is_live:
            await asyncio.sleep(_CONNECT_AGAIN_S)
            is_live = await self._engine.live()

    def _came_back(self) -> None:
        """Look at every graph again before the Triton is asked for it."""
        self._graphs.clear()
        self._retries.clear()
        self._tell(self.server)
        self._look()

    def _look(self) -> None:
        if not self.server.is_open:
            return
        now = time.monotonic()
        due = [name for name in self._missed if self._is_due(name, now)]
        # What it still has of models that were unloaded goes first, because others have been given the memory.
        first = [name for name in due if name not in self._wishes.graphs]
        for name in first or dict.fromkeys((*self.lacks, *due, *self._surplus(now))):
            if name not in self._tasks and self._is_due(name, now):
                self._begin(name)

    def _is_due(self, name: str, now: float) -> bool:
        return self._retries.get(name, (0.0, 0.0))[0] <= now

    def _surplus(self, now: float) -> list[str]:
        """Return the graphs that this Triton has had for other ones, which have had them again for a while."""
        found: dict[str, float] = {}
        for name in self._graphs:
            placed = self._wishes.placed(name, self._servers())
            if self.server not in placed and all(other.takes(name) for other in placed):
                found[name] = self._surplus_since.get(name, now)
        self._surplus_since = found
        return [name for name, since in found.items() if since <= now - _SURPLUS_S]

    def _begin(self, name: str) -> None:
        task = asyncio.create_task(self._settle(name), name=f"settle {name} on the Triton at {self.server.address}")
        self._tasks[name] = task
        task.add_done_callback(lambda _: self._tasks.pop(name))

    async def _settle(self, name: str) -> None:
        """Load or unload one graph, as wished now."""
        try:
            async with self._wishes.hold(key_of_graph(name) or name), self._wishes.lock(name):
                wish = self._wishes.graphs.get(name)
                if not self.server.is_open:
                    return
                if wish is not None and self.server in self._wishes.placed(name, self._servers()):
                    if name not in self._graphs:
                        await self.load(wish)
                        logger.info("Triton at %s has graph %s", self.server.address, name)
                elif wish is None or name in self._missed or name in self._surplus(time.monotonic()):
                    await self.unload(name)
        except EngineUnavailableError:
            pass  # it is looked at again as soon as the Triton responds
        except (IngrainError, OSError, TimeoutError) as error:
            self._postpone(name, error)
        except Exception as error:
            logger.exception("Graph %s could not be loaded into the Triton at %s", name, self.server.address)
            self._postpone(name, error)

    def _postpone(self, name: str, error: Exception) -> None:
        pause_s = min(2 * self._retries.get(name, (0.0, _FIRST_RETRY_S / 2))[1], _LONGEST_RETRY_S)
        self._retries[name] = time.monotonic() + pause_s, pause_s
        logger.error("Triton at %s lacks graph %s, next try in %g s: %s", self.server.address, name, pause_s, error)
