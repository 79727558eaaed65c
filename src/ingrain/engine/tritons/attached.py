"""Runs graphs on Tritons that another process of this server owns or looks after."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from ingrain.engine.embedded.process_tree import Children
from ingrain.engine.protocol import Array, Arrays, GraphStatistics, ServerCounts
from ingrain.engine.triton.address import EngineAddress
from ingrain.engine.triton.engine import TritonEngine
from ingrain.engine.tritons.balancer import Balancer
from ingrain.engine.tritons.live import is_any_live
from ingrain.engine.tritons.server import Server
from ingrain.errors import EngineUnavailableError, IngrainError

_RETRY_AFTER_S = 3.0
# The batches in a Triton that is left may take so long.
_DRAIN_S = 10.0


class AttachedEngine:
    """Runs graphs on the Tritons at the last attached addresses.

    Args:
        instances: How many batches of one graph a Triton runs at the same time.
        statistics: Gets Triton's statistics from the owning process, which excludes warm-up batches.
    """

    def __init__(self, *, instances: int, statistics: Callable[[], Awaitable[list[GraphStatistics]]]) -> None:
        self.instances = instances
        self._statistics = statistics
        self._addresses: Sequence[EngineAddress] = ()
        self._balancer = Balancer(self._why_none)
        # By address, without what may change while the Triton stays the same.
        self._servers: dict[EngineAddress, Server] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def attach(self, addresses: Sequence[EngineAddress]) -> None:
        """Use the Tritons at these addresses from now on, without waiting for connections."""
        if addresses == self._addresses:
            return
        self._addresses = addresses
        found = {_place(address): address for address in addresses}
        for place in self._servers.keys() - found.keys():
            self._leave(self._servers.pop(place))
        for place, address in found.items():
            server = self._servers.get(place) or self._connect(place)
            server.graphs = None if address.graphs is None else set(address.graphs)
            server.is_leaving = address.is_leaving
        self._balancer.servers = list(self._servers.values())

    async def close(self) -> None:
        """Disconnect; later calls raise ``EngineUnavailableError``."""
        self._addresses, self._balancer.servers = (), []
        servers, self._servers = list(self._servers.values()), {}
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*self._closing, *(server.engine.close() for server in servers), return_exceptions=True)

    async def live(self) -> bool:
        """Return whether a Triton responds."""
        return await is_any_live([server.engine for server in self._balancer.servers])

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
        """Return Triton's statistics of each loaded graph, from the process that owns it.

        Raises:
            EngineUnavailableError: Triton is being restarted.
        """
        return await self._statistics()

    def servers(self) -> dict[str, ServerCounts]:
        """Return what this process has sent to each of several Tritons."""
        return {
            place.target: ServerCounts(batches=server.sent, lost=server.failed)
            for place, server in self._servers.items()
            if server.graphs is not None
        }

    def _why_none(self, name: str) -> IngrainError:
        if not self._servers:
            return EngineUnavailableError("the engine is being restarted", retry_after_s=_RETRY_AFTER_S)
        return EngineUnavailableError(f"no Triton has graph {name!r} now", retry_after_s=_RETRY_AFTER_S)

    def _connect(self, place: EngineAddress) -> Server:
        stubs = Children(place.pid) if place.pid is not None else None
        triton = TritonEngine(
            place.target,
            backend=place.backend,
            instances=self.instances,
            watch_interval_s=0,  # the owner monitors Triton and sends its new address
            has_faulty_stubs=lambda: stubs is not None and bool(stubs.faults()),
        )
        triton.connect()
        server = self._servers[place] = Server(place.target, triton)
        return server

    def _leave(self, server: Server) -> None:
        task = asyncio.create_task(_drain(server), name=f"leave the Triton at {server.address}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _place(address: EngineAddress) -> EngineAddress:
    return msgspec.structs.replace(address, graphs=None, is_leaving=False)


async def _drain(server: Server) -> None:
    """Close the connection to a Triton when its batches are finished; those that take too long run elsewhere."""
    try:
        async with asyncio.timeout(_DRAIN_S):
            await server.idle.wait()
    except TimeoutError:
        pass  # closing the connection fails the batches, and other Tritons run them
    finally:
        await server.engine.close()
