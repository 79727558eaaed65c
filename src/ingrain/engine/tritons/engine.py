"""Runs graphs on several Tritons, which come and go."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from ingrain.engine.protocol import Array, Arrays, GraphStatistics, Hold, LoadedAs, ServerCounts
from ingrain.engine.triton.address import EngineAddress
from ingrain.engine.triton.engine import TritonEngine
from ingrain.engine.triton.failures import RETRY_AFTER_S, closed
from ingrain.engine.tritons.addresses import Addresses
from ingrain.engine.tritons.balancer import Balancer
from ingrain.engine.tritons.counts import counts_of
from ingrain.engine.tritons.keeper import Keeper
from ingrain.engine.tritons.live import is_any_live
from ingrain.engine.tritons.server import Server
from ingrain.engine.tritons.sums import Sums
from ingrain.engine.tritons.wishes import Wish, Wishes
from ingrain.errors import (
    EngineSetupError,
    EngineUnavailableError,
    IngrainError,
    ModelNotLoadedError,
)
from ingrain.repository.execution_policy import Backend
from ingrain.repository.manifest import Graph
from ingrain.repository.tuning import Layout

logger = logging.getLogger(__name__)

_RESOLVE_EVERY_S = 5.0
_POLL_S = 0.05
# When one Triton responds, the start waits so long for the others, so that models are loaded into all at once.
_OTHERS_S = 2.0
# Batches in a Triton that leaves may take so long; then another one runs them.
_DRAIN_S = 60.0


class TritonsEngine:
    """Runs graphs on several Tritons that it does not start.

    Every graph is loaded into all of them, or into as many as ``replicas`` says, and each batch goes to the least
    loaded one that has its graph. A Triton that comes back, or that appears behind a name, gets the graphs that it
    lacks as they lie in the repository, and no batches of a graph before that. One whose address vanishes gets no more
    batches, and is left when it has finished those that it has. ``on_restart`` callbacks run when a Triton responds
    while no other one does.

    Args:
        addresses: Where the Tritons are.
        make: Returns the engine of the Triton at an address.
        backend: Triton backend in the graphs' ``config.pbtxt``.
        instances: How many batches of one graph each Triton runs at the same time.
        replicas: Number of Tritons that load each model; 0 for all.
        start_timeout_s: Seconds that ``start`` waits for the first Triton.
        resolve_every_s: Seconds between two look-ups of names.
    """

    def __init__(
        self,
        addresses: Addresses,
        make: Callable[[str], TritonEngine],
        *,
        backend: Backend,
        instances: int = 1,
        replicas: int = 0,
        start_timeout_s: float = 30.0,
        resolve_every_s: float = _RESOLVE_EVERY_S,
    ) -> None:
        self.backend: Backend = backend
        self.instances = instances
        self._addresses = addresses
        self._make = make
        self._start_timeout_s = start_timeout_s
        self._resolve_every_s = resolve_every_s
        self._wishes = Wishes(replicas=replicas)
        self._balancer = Balancer(self._why_none)
        self._keepers: dict[str, Keeper] = {}
        self._sums = Sums()
        self._sending = asyncio.Semaphore(1)
        self._callbacks: list[Callable[[], None]] = []
        self._follower: asyncio.Task[None] | None = None
        self._leavings: set[asyncio.Task[None]] = set()

    @property
    def hold(self) -> Hold:
        """Holds the lock of a model while its graphs are loaded into a single Triton."""
        return self._wishes.hold

    @hold.setter
    def hold(self, hold: Hold) -> None:
        """Set what holds the lock of a model."""
        self._wishes.hold = hold

    @property
    def addresses(self) -> tuple[EngineAddress, ...]:
        """Addresses of the Tritons that respond, with the graphs for which they may be asked."""
        return tuple(
            EngineAddress(
                target=server.address,
                backend=self.backend,
                graphs=frozenset(server.graphs or ()),
                is_leaving=server.is_leaving,
            )
            for server in self._balancer.servers
            if server.is_open
        )

    async def start(self) -> None:
        """Connect to the Tritons, and wait until one responds; the others may come later.

        Raises:
            EngineUnavailableError: None did in time.
            EngineSetupError: None did, and one was started without explicit model control.
        """
        if self._follower is None:
            await self._look_addresses_up()
            self._follower = asyncio.create_task(self._follow_addresses(), name="look up the addresses of the Tritons")
        deadline = time.monotonic() + self._start_timeout_s
        while not self._open():
            problems = [keeper.problem for keeper in self._keepers.values() if keeper.problem is not None]
            setup = next((one for one in problems if isinstance(one, EngineSetupError)), None)
            if setup is not None and len(problems) == len(self._keepers):
                raise setup
            if time.monotonic() > deadline:
                raise self._not_started(problems)
            await asyncio.sleep(_POLL_S)
        deadline = time.monotonic() + _OTHERS_S
        while time.monotonic() < deadline:
            if all(keeper.server.is_open or keeper.problem is not None for keeper in self._keepers.values()):
                break
            await asyncio.sleep(_POLL_S)

    async def close(self) -> None:
        """Close the connections. The Tritons keep running, with their graphs loaded."""
        tasks = [*self._leavings, *([self._follower] if self._follower is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._follower = None
        keepers, self._keepers = list(self._keepers.values()), {}
        self._balancer.servers = []
        await asyncio.gather(*(keeper.close() for keeper in keepers))

    async def live(self) -> bool:
        """Return whether any Triton responds."""
        return await is_any_live([server.engine for server in self._open()])

    async def load(self, graph: Graph, layout: Layout | None = None) -> None:
        """Load a graph into the Tritons that it is for; see ``Engine.load``.

        It is loaded if one Triton has it. Those that do not respond or fail get it later.

        Raises:
            EngineUnavailableError: No Triton responds.
            EngineError: None can load the graph; the error of the first one.
        """
        wish = Wish(graph, layout)
        async with self._wishes.lock(graph.name):
            self._wishes.graphs[graph.name] = wish
            is_loaded = False
            try:
                servers = self._wishes.placed(graph.name, self._balancer.servers)
                if not servers:
                    raise self._away()
                keepers = [self._keepers[server.address] for server in servers]
                done = await asyncio.gather(*(keeper.load(wish) for keeper in keepers), return_exceptions=True)
                failures = [one for one in done if isinstance(one, BaseException)]
                is_loaded = len(failures) < len(done)
                if not is_loaded:
                    raise next((one for one in failures if not isinstance(one, EngineUnavailableError)), failures[0])
            finally:
                if not is_loaded:
                    self._wishes.graphs.pop(graph.name, None)
        for keeper, failure in zip(keepers, done, strict=True):
            if isinstance(failure, BaseException):
                logger.error("Triton at %s lacks graph %s: %s", keeper.server.address, graph.name, failure)

    async def unload(self, name: str) -> None:
        """Unload a graph from every Triton; from one that does not respond when it comes back.

        Raises:
            EngineError: A Triton cannot unload it.
        """
        async with self._wishes.lock(name):
            self._wishes.graphs.pop(name, None)
            self._sums.forget(name)
            unloading = [keeper.unload(name) for keeper in self._keepers.values()]
            for failure in await asyncio.gather(*unloading, return_exceptions=True):
                if failure is not None:
                    raise failure

    def forget(self, name: str) -> None:
        """Load a graph no more without being asked to, because another server has unloaded it on purpose."""
        self._wishes.graphs.pop(name, None)
        self._sums.forget(name)

    async def ready(self, name: str) -> bool:
        """Return whether a Triton can run batches of the graph now."""
        return any(server.takes(name) for server in self._balancer.servers)

    async def loaded_as(self, name: str) -> LoadedAs | None:
        """Return how the Tritons have loaded a graph, within the limits of all; None if none has it.

        Raises:
            EngineError: No Triton responds.
        """
        servers = self._open()
        if not servers:
            raise self._away()
        asked = await asyncio.gather(*(server.engine.loaded_as(name) for server in servers), return_exceptions=True)
        found = [one for one in asked if isinstance(one, LoadedAs)]
        if not found:
            for one in asked:
                if isinstance(one, BaseException):
                    raise one
            return None
        return LoadedAs(
            layout=found[0].layout, max_items=min(one.max_items for one in found), servers=max(1, len(found))
        )

    async def infer(
        self,
        name: str,
        inputs: Arrays,
        *,
        timeout_s: float | None = None,
        alone: bool = False,
        outputs: Sequence[str] | None = None,
    ) -> dict[str, Array]:
        """Run one batch; see ``GraphRunner.infer``. The returned arrays are read-only."""
        return await self._balancer.infer(name, inputs, timeout_s=timeout_s, alone=alone, outputs=outputs)

    async def statistics(self) -> list[GraphStatistics]:
        """Return the summed statistics of each loaded graph; what a Triton has counted before it was lost is kept.

        Raises:
            EngineUnavailableError: No Triton responds.
        """
        servers = self._open()
        if not servers:
            raise self._away()
        told = await asyncio.gather(*(server.engine.statistics() for server in servers), return_exceptions=True)
        answers = {
            server.address: one for server, one in zip(servers, told, strict=True) if not isinstance(one, BaseException)
        }
        if not answers:
            raise self._away()
        self._sums.add(answers)
        return self._sums.of(self._wishes.graphs)

    def servers(self) -> dict[str, ServerCounts]:
        """Return the state of each Triton, and what this process has sent to it, by address."""
        return {address: counts_of(keeper) for address, keeper in self._keepers.items()}

    def on_restart(self, callback: Callable[[], None]) -> None:
        """Register a callback that runs in the event loop when a Triton is back and no other one serves."""
        self._callbacks.append(callback)

    def _open(self) -> list[Server]:
        return [server for server in self._balancer.servers if server.is_open]

    def _away(self) -> EngineUnavailableError:
        if self._follower is None:
            return closed()
        return EngineUnavailableError("no Triton answers now", retry_after_s=RETRY_AFTER_S)

    def _why_none(self, name: str) -> IngrainError:
        if not self._open():
            return self._away()
        if name in self._wishes.graphs:
            return EngineUnavailableError(f"no Triton has graph {name!r} now", retry_after_s=RETRY_AFTER_S)
        return ModelNotLoadedError(f"graph {name!r} is not loaded")

    def _not_started(self, problems: Sequence[EngineUnavailableError]) -> EngineUnavailableError:
        if len(problems) == len(self._keepers) == 1:
            return problems[0]
        return EngineUnavailableError(
            f"None of the Tritons at {', '.join(self._keepers)} answered; does TRITON_GRPC_URL name their gRPC ports "
            "(8001)?",
            retry_after_s=RETRY_AFTER_S,
        )

    def _came_back(self, server: Server) -> None:
        others = [one for one in self._open() if one is not server]
        logger.info("Triton at %s responds; %d others do", server.address, len(others))
        if not others:
            for callback in self._callbacks:
                callback()

    async def _follow_addresses(self) -> None:
        while self._addresses.may_change:
            await asyncio.sleep(self._resolve_every_s)
            try:
                await self._look_addresses_up()
            except Exception:  # the next look may succeed, so the loop must not end
                logger.exception("The addresses of the Tritons could not be looked up")

    async def _look_addresses_up(self) -> None:
        found = await self._addresses.look()
        for address in found:
            keeper = self._keepers.get(address)
            if keeper is None:
                self._add(address)
            elif keeper.server.is_leaving:
                logger.info("Triton at %s is there again", address)
                keeper.server.is_leaving = False
        for address, keeper in self._keepers.items():
            if address not in found and not keeper.server.is_leaving:
                keeper.server.is_leaving = True
                logger.warning("Triton at %s has vanished from TRITON_GRPC_URL's name", address)
                task = asyncio.create_task(self._leave(address, keeper), name=f"leave the Triton at {address}")
                self._leavings.add(task)
                task.add_done_callback(self._leavings.discard)

    def _add(self, address: str) -> None:
        server = Server(address, self._make(address), is_watched=True)
        self._keepers[address] = Keeper(
            server, self._wishes, lambda: self._balancer.servers, self._sending, self._came_back
        )
        self._balancer.servers = [*self._balancer.servers, server]

    async def _leave(self, address: str, keeper: Keeper) -> None:
        """Close the connection to a Triton once it is idle and others have its graphs, unless its address reappears."""
        server, deadline = keeper.server, time.monotonic() + _DRAIN_S
        while server.is_leaving:
            await asyncio.sleep(_POLL_S)
            if not self._is_needed(server) and (not server.batches or time.monotonic() > deadline):
                break
        if server.is_leaving:
            self._balancer.servers = [one for one in self._balancer.servers if one is not server]
            del self._keepers[address]
            self._sums.leave(address)
            await keeper.close()
            logger.info("Triton at %s is left", address)

    def _is_needed(self, server: Server) -> bool:
        """Return whether a Triton that leaves has what no other one has yet."""
        others = [one for one in self._open() if not one.is_leaving]
        if not server.is_open:
            return False
        wished = [name for name in self._wishes.graphs if server.takes(name)]
        return not others or not all(any(other.takes(name) for other in others) for name in wished)
