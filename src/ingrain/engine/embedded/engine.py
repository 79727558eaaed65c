"""Runs graphs on a tritonserver child process: starts, monitors, restarts and stops it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ingrain.engine.embedded import owned_names
from ingrain.engine.embedded.crashes import Crashes
from ingrain.engine.embedded.process_tree import Fault
from ingrain.engine.embedded.tritonserver import TritonServer
from ingrain.engine.protocol import Array, Arrays, GraphStatistics
from ingrain.engine.triton.address import EngineAddress
from ingrain.engine.triton.engine import TritonEngine
from ingrain.errors import EngineError, EngineUnavailableError
from ingrain.machine_memory import resident_bytes
from ingrain.repository.execution_policy import Backend
from ingrain.repository.manifest import Graph
from ingrain.repository.tuning import Layout

logger = logging.getLogger(__name__)

_RETRY_AFTER_S = 3.0
_LOOK_INTERVAL_S = 0.5
_THOROUGH_EVERY = 4
# Looks in a row that must find a stub's fault. A stub whose graph is unloaded is a zombie until Triton reaps it; one
# that was killed stays a zombie. A stopped stub may go on.
_LOOKS_OF_FAULT: Mapping[Fault, int] = {"dead": 2, "stopped": 5}
# tritonserver hangs if it was asked so often, and has not answered for so long. The count matters after this process
# was stopped itself.
_ASK_INTERVAL_S = 0.5
_UNANSWERED = 3
_SILENT_S = 6.0
_FIRST_BACKOFF_S = 0.1
_LONGEST_BACKOFF_S = 10.0
_STABLE_S = 30.0


class EmbeddedEngine:
    """Runs graphs on a tritonserver in a child process.

    When tritonserver or one of its Python stubs dies or hangs, the engine restarts tritonserver with exponential
    backoff, then runs the ``on_restart`` callbacks. Calls during the restart raise ``EngineUnavailableError``.
    tritonserver ends when this process ends, even by SIGKILL.

    Args:
        repository: Triton's model repository (``<root>/triton``).
        instances: How many batches of one graph run at the same time.
        start_timeout_s: Seconds that tritonserver may take to start.
        stop_timeout_s: Seconds that tritonserver may take to stop before it is killed.
        load_timeout_s: Seconds that a graph may take to load.
        metrics_port: Port of the loopback on which tritonserver has its metrics; 0 for none.
    """

    def __init__(
        self,
        repository: Path,
        *,
        instances: int = 1,
        start_timeout_s: float = 30.0,
        stop_timeout_s: float = 10.0,
        load_timeout_s: float = 600.0,
        metrics_port: int = 0,
    ) -> None:
        self.backend: Backend = "python"
        self.instances = instances
        self._repository = repository.absolute()
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._load_timeout_s = load_timeout_s
        self._metrics_port = metrics_port
        self._server: TritonServer | None = None
        self._triton: TritonEngine | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._crashes = Crashes()

    @property
    def pid(self) -> int | None:
        """Process id of tritonserver, None if it is not running."""
        return self._server.pid if self._server is not None and not self._server.exited.done() else None

    @property
    def addresses(self) -> tuple[EngineAddress, ...]:
        """Address of tritonserver for other processes, none while it is not running."""
        if self._triton is None or self._server is None:
            return ()
        return (EngineAddress(target=self._server.target, backend=self.backend, pid=self._server.pid),)

    async def start(self) -> None:
        """Start tritonserver and wait until it responds.

        Raises:
            EngineUnavailableError: tritonserver is not available, ended during its start, or did not respond in time.
        """
        await asyncio.to_thread(owned_names.sweep)
        await self._launch()
        self._keeper = asyncio.create_task(self._keep_running(), name="keep tritonserver running")

    async def close(self) -> None:
        """Stop tritonserver."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
            self._keeper = None
        await self._forget_client()
        if self._server is not None:
            server, self._server = self._server, None
            await server.stop(self._stop_timeout_s)

    async def live(self) -> bool:
        """Return whether tritonserver responds."""
        return self._triton is not None and await self._triton.live()

    async def load(self, graph: Graph, layout: Layout | None = None) -> None:
        """Load a graph; see ``Engine.load``. tritonserver reads the layout from ``config.pbtxt``.

        Raises:
            EngineError: The graph cannot be loaded, or has ended its process so often that it must wait.
        """
        held_s = self._crashes.held_s(graph.name, time.monotonic())
        if held_s:
            raise EngineError(
                f"Graph {graph.name!r} has crashed or hung again and again, and the other models with it. It is not "
                f"loaded for another {held_s:.0f} s; the log says more.",
                retry_after_s=held_s,
            )
        await self._client().load(graph, layout)
        if self._server is not None:
            self._server.stub_faults()  # learns which stub runs the graph

    async def unload(self, name: str) -> None:
        """Unload a graph and wait until tritonserver has freed it; do nothing if it is not loaded.

        Raises:
            EngineUnavailableError: tritonserver is being restarted.
        """
        await self._client().unload(name)

    async def ready(self, name: str) -> bool:
        """Return whether the graph can run batches now."""
        return self._triton is not None and await self._triton.ready(name)

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
        return await self._client().infer(name, inputs, timeout_s=timeout_s, alone=alone, outputs=outputs)

    async def statistics(self) -> list[GraphStatistics]:
        """Return tritonserver's statistics of each loaded graph; a restart resets them.

        Raises:
            EngineUnavailableError: tritonserver is being restarted.
        """
        return await self._client().statistics()

    def memory_bytes(self, name: str) -> int | None:
        """Return the resident memory of the processes that run a graph; None if there are none."""
        stubs = self._server.stubs_of(name) if self._server is not None else []
        return sum(resident_bytes(stub) or 0 for stub in stubs) or None

    def on_restart(self, callback: Callable[[], None]) -> None:
        """Register a callback that runs in the event loop each time tritonserver has been restarted."""
        self._callbacks.append(callback)

    def _client(self) -> TritonEngine:
        if self._triton is None:
            what = "is closed" if self._keeper is None else "is being restarted"
            raise EngineUnavailableError(f"the engine {what}", retry_after_s=_RETRY_AFTER_S)
        return self._triton

    async def _forget_client(self) -> None:
        triton, self._triton = self._triton, None
        if triton is not None:
            await triton.close()

    async def _launch(self) -> None:
        self._repository.mkdir(parents=True, exist_ok=True)
        server = self._server = TritonServer(self._repository, metrics_port=self._metrics_port)
        triton = TritonEngine(
            server.target,
            backend=self.backend,
            instances=self.instances,
            load_timeout_s=self._load_timeout_s,
            watch_interval_s=0,  # _keep_running notices its death sooner
            has_faulty_stubs=lambda: bool(server.stub_faults()),
        )
        triton.connect()
        try:
            await server.wait_until_live(triton.server_name, self._start_timeout_s)
        except BaseException:  # stop the server on cancellation too
            await triton.close()
            await server.stop(0)
            raise
        self._triton = triton
        logger.info("tritonserver runs as process %d", server.pid)

    async def _keep_running(self) -> None:
        backoff_s = _FIRST_BACKOFF_S
        while True:
            started = time.monotonic()
            assert self._server is not None
            code = await self._until_dead(self._server)
            await self._forget_client()
            logger.error("tritonserver ended with code %d; starting it again", code)
            if time.monotonic() - started > _STABLE_S:
                backoff_s = _FIRST_BACKOFF_S
            backoff_s = await self._relaunch(backoff_s)
            for callback in self._callbacks:
                callback()

    async def _until_dead(self, server: TritonServer) -> int:
        """Wait until the server ends, kill it if it hangs or one of its stubs died or hangs; return its exit code."""
        watches = [
            asyncio.create_task(self._kill_if_silent(server), name="ask tritonserver"),
            asyncio.create_task(self._kill_if_stub_fails(server), name="watch the stubs of tritonserver"),
        ]
        try:
            return await asyncio.shield(server.exited)
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)

    async def _kill_if_silent(self, server: TritonServer) -> None:
        answered, unanswered = time.monotonic(), 0
        while unanswered < _UNANSWERED or time.monotonic() < answered + _SILENT_S:
            await asyncio.sleep(_ASK_INTERVAL_S)
            if await self.live():
                answered, unanswered = time.monotonic(), 0
            else:
                unanswered += 1
        logger.error("tritonserver has not answered for %.0f s; restarting it", time.monotonic() - answered)
        server.kill()

    async def _relaunch(self, backoff_s: float) -> float:
        """Try to start tritonserver until it succeeds; return the backoff before the next restart."""
        while True:
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, _LONGEST_BACKOFF_S)
            try:
                await self._launch()
            except (EngineUnavailableError, OSError) as error:
                logger.error("tritonserver cannot be started: %s; next try in %.1f s", error, backoff_s)
            else:
                return backoff_s

    async def _kill_if_stub_fails(self, server: TritonServer) -> None:
        looks = 0
        seen: dict[tuple[int, Fault], int] = {}
        while True:
            await asyncio.sleep(_LOOK_INTERVAL_S)
            faults = server.stub_faults(thorough=looks % _THOROUGH_EVERY == 0)
            looks += 1
            seen = {found: seen.get(found, 0) + 1 for found in faults.items()}
            for (stub, fault), count in seen.items():
                if count >= _LOOKS_OF_FAULT[fault]:
                    graph = server.graph_of(stub)
                    logger.error("The Python stub of graph %s is %s; restarting tritonserver", graph, fault)
                    if graph is not None:
                        self._crashes.count(graph, time.monotonic())
                    server.kill()
                    return
