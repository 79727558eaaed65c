"""A Triton that belongs to no front end, and that is started again whenever it ends, as a container would be."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from ingrain.engine.embedded.tritonserver import TritonServer

_RESTART_PAUSE_S = 0.5


class ExternalTriton:
    """A tritonserver on a port of the loopback.

    Args:
        repository: Triton's model repository.
        port: Port of gRPC.

    Attributes:
        starts: Number of starts.
    """

    def __init__(self, repository: Path, port: int) -> None:
        self.port = port
        self.starts = 0
        self._may_start = asyncio.Event()
        self._may_start.set()
        self._repository = repository
        self._server: TritonServer | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Process id of tritonserver."""
        assert self._server is not None
        return self._server.pid

    async def start(self) -> None:
        """Start tritonserver, and keep it running until ``close``."""
        self._launch()
        self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Kill tritonserver."""
        if self._keeper is not None:
            self._keeper.cancel()
        if self._server is not None:
            self._server.kill()
            await self._server.stop(5)

    @contextlib.asynccontextmanager
    async def gone(self) -> AsyncIterator[None]:
        """Kill tritonserver, and start it again only when the block ends."""
        assert self._server is not None
        self._may_start.clear()
        self._server.kill()
        try:
            yield
        finally:
            self._may_start.set()

    def _launch(self) -> None:
        self._server = TritonServer(self._repository, tcp_port=self.port)
        self.starts += 1

    async def _keep(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                assert self._server is not None
                await asyncio.shield(self._server.exited)
                await asyncio.sleep(_RESTART_PAUSE_S)  # the port may still be held for a moment
                await self._may_start.wait()
                self._launch()
