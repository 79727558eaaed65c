"""Starts the workers, restarts workers that die, answers their questions, and stops them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from ingrain.app.limits import worker_share
from ingrain.app.workers.dispatcher import Dispatcher
from ingrain.app.workers.messages import (
    Applied,
    Ask,
    AskDemand,
    AskRefresh,
    AskStatistics,
    AskTotals,
    Counted,
    Demanded,
    EngineStatistics,
    Finish,
    Follow,
    FromWorker,
    Keys,
    Leaving,
    Refreshed,
    Setup,
    Suspect,
    Totals,
    Withdraw,
)
from ingrain.app.workers.publisher import Publisher
from ingrain.app.workers.shared_counters import SharedTable
from ingrain.app.workers.wait_for import Pulse
from ingrain.app.workers.worker_process import WorkerProcess, start_worker
from ingrain.engine.placement import Placement
from ingrain.engine.triton.address import Shareable
from ingrain.errors import EngineError, IngrainError
from ingrain.machine_faults import machine_fault
from ingrain.server.plane.auth import key_lines
from ingrain.server.plane.counts import Counts, total
from ingrain.server.plane.services import ModelServices
from ingrain.settings import Settings

_TICK_S = 0.2
_TICKS_A_HEARTBEAT = 5
# The connections of a worker that hangs are lost when it is killed; their clients then reach another worker.
_MOST_MISSED = 8
_MOST_MISSED_AT_START = 60
_COUNTS_WAIT_S = 1.0
_FIRST_BACKOFF_S = 0.1
_LONGEST_BACKOFF_S = 10.0
_STABLE_S = 30.0
_LAST_WAIT_S = 5.0

log = logging.getLogger("ingrain.server")


class Supervisor:
    """Serves the inference plane with worker processes; it has the methods ``start`` and ``stop`` of ``HttpServer``.

    Args:
        settings: Settings of the server.
        placement: Where graphs run.
        services: Services of this process, which owns the registry and the engine; the engine is ``Shareable``.
        starting: Returns why engine and registry are not ready yet, None if they are.
    """

    def __init__(
        self, settings: Settings, placement: Placement, services: ModelServices, starting: Callable[[], str | None]
    ) -> None:
        self._services = services
        self._keys_sent = services.keys_file.known if services.keys_file is not None else ()
        self._starting = starting
        self._count = settings.workers
        self._shutdown_timeout_s = settings.shutdown_timeout_s
        self._setup = Setup(
            settings=_worker_settings(settings), placement=placement, instances=services.engine.instances
        )
        self._descriptor = SharedTable.create(self._count)
        self._table = SharedTable(self._descriptor, self._count)
        self._workers: dict[int, WorkerProcess] = {}
        self._pulse = Pulse()
        self._publisher = Publisher(self._describe, lambda: list(self._workers.values()), self._pulse)
        self._dispatcher: Dispatcher | None = None
        self._keepers: dict[int, asyncio.Task[None]] = {}
        self._ticker: asyncio.Task[None] | None = None
        self._answering: set[asyncio.Task[None]] = set()
        self._dead = Counts()
        self._restarts = 0
        self._has_been_up = False
        self._finish: Finish | None = None

    async def start(self, listener: socket.socket) -> None:
        """Start the workers, and accept connections as soon as one worker is up."""
        self._dispatcher = Dispatcher(listener, self._takers)
        self._services.registry.settle = self._publisher.settle
        self._services.engine.on_restart(self._engine_came_back)
        self._keepers = {
            number: asyncio.create_task(self._keep_running(number), name=f"keep worker {number} running")
            for number in range(self._count)
        }
        self._ticker = asyncio.create_task(self._tick(), name="look after the workers")

    async def stop(self, grace_s: float) -> None:
        """Stop accepting connections, give the workers ``grace_s`` seconds to finish requests, and stop them."""
        self._finish = Finish(grace_s)
        if self._dispatcher is not None:
            self._dispatcher.close()
        for number, keeper in self._keepers.items():
            if number not in self._workers:
                keeper.cancel()
            elif self._workers[number].first_applied_at is None:
                # It is still starting, so it has no connections; on a busy machine its start takes seconds.
                self._workers[number].process.signal(signal.SIGKILL)
            else:
                self._workers[number].channel.send(self._finish)
        if self._keepers:
            _, late = await asyncio.wait(self._keepers.values(), timeout=grace_s + _LAST_WAIT_S)
            if late:
                log.error("%d workers did not exit in time and are killed", len(late))
                for worker in self._workers.values():
                    worker.process.signal(signal.SIGKILL)
                await asyncio.wait(late, timeout=_LAST_WAIT_S)
        # An unresponsive disk can keep a killed worker in the kernel; its keeper is cancelled.
        tasks = [*self._answering, *self._keepers.values(), *([self._ticker] if self._ticker is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        os.close(self._descriptor)

    def hurry(self) -> None:
        """Have ``stop`` wait no longer for requests in progress."""
        for worker in self._workers.values():
            worker.channel.send(Finish(0.0))

    def waiting_for(self) -> str | None:
        """Return why the inference plane is not ready, or None. At first all workers must be up, later one suffices."""
        up = len(self._publisher.up())
        self._has_been_up = self._has_been_up or up == self._count
        if self._has_been_up and up:
            return None
        return f"{up} of {self._count} workers are ready."

    async def totals(self) -> Counts:
        """Return the summed counts of this process and of all workers, including dead ones."""
        goals = {worker: worker.ask_counts() for worker in self._publisher.up()}
        with contextlib.suppress(TimeoutError):  # for a worker that is too busy, use its latest counts
            async with asyncio.timeout(_COUNTS_WAIT_S):
                await self._pulse.until(
                    lambda: all(worker.told >= goal or not worker.is_up for worker, goal in goals.items())
                )
        known = set(self._services.registry.user_names().values())
        counts = total(
            [self._services.telemetry.counts(), self._dead, *(worker.counts for worker in self._workers.values())]
        )
        counts.queues = {name: queue for name, queue in counts.queues.items() if name in known}
        names = self._services.keys.named.names if self._services.keys.named is not None else ()
        counts.keys = {name: key for name, key in counts.keys.items() if name in names}
        counts.workers, counts.worker_restarts = len(self._publisher.up()), self._restarts
        return counts

    def _engine_came_back(self) -> None:
        self._publisher.publish()

    # --- one worker ----------------------------------------------------------------------------------------------

    async def _keep_running(self, number: int) -> None:
        backoff_s = _FIRST_BACKOFF_S
        named = self._services.keys.named
        loop = asyncio.get_running_loop()
        while not self._is_stopping():
            started = loop.time()
            try:
                windows = named.windows.descriptor if named is not None else None
                worker = await start_worker(number, self._count, self._table, self._descriptor, windows)
                code = await self._serve_with(worker)
                if self._is_stopping():
                    return
                level = logging.ERROR if code else logging.WARNING
                log.log(level, "Worker %d ended with code %d; starting it again", number, code)
            except OSError as error:
                log.error("Worker %d cannot be started: %s", number, error.strerror)
            except Exception:  # start a new worker after any error
                log.exception("Handling worker %d failed; starting it again", number)
            if loop.time() - started > _STABLE_S:
                backoff_s = _FIRST_BACKOFF_S
            self._restarts += 1
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, _LONGEST_BACKOFF_S)

    def _is_stopping(self) -> bool:
        return self._finish is not None

    async def _serve_with(self, worker: WorkerProcess) -> int:
        """Send a worker its setup, handle its messages until it exits, and return its exit code."""
        self._workers[worker.number] = worker
        worker.channel.send(self._setup)
        if self._services.keys_file is not None:
            worker.channel.send(Keys(self._keys_sent))
        self._publisher.tell(worker)
        if self._finish is not None:
            worker.channel.send(self._finish)
        try:
            while (message := await worker.channel.receive()) is not None:
                self._hear(worker, message)
            return await worker.end()
        finally:
            del self._workers[worker.number]
            worker.is_up = False
            for answering in list(worker.answering.values()):
                answering.cancel()
            worker.process.signal(signal.SIGKILL)
            self._table.clear(worker.number)
            self._dead.add(worker.counts.of_the_dead())
            self._pulse.beat()

    def _hear(self, worker: WorkerProcess, message: FromWorker) -> None:
        match message:
            case Applied():
                self._publisher.applied(worker, message)
                if self._dispatcher is not None:
                    self._dispatcher.wake()
            case Counted():
                worker.counted(message.counts)
                for used, (at, keep_alive_s) in message.uses.items():
                    self._services.registry.used(used, at, keep_alive_s)
                self._pulse.beat()
                if self._dispatcher is not None:
                    self._dispatcher.wake()
            case AskRefresh():
                self._answer(worker, message, self._refresh(worker, message.number))
            case AskDemand():
                self._answer(worker, message, self._load_on_demand(worker, message))
            case AskTotals():
                self._answer(worker, message, self._tell_totals(worker, message.number))
            case AskStatistics():
                self._answer(worker, message, self._tell_statistics(worker, message.number))
            case Withdraw():
                if (answering := worker.answering.get(message.number)) is not None:
                    answering.cancel()
            case Suspect():
                self._services.registry.suspect()
            case Leaving():
                worker.is_up = False
                worker.channel.send(Finish(self._shutdown_timeout_s))
                self._pulse.beat()

    # --- questions of workers ------------------------------------------------------------------------------------

    def _answer(self, worker: WorkerProcess, question: Ask, work: Coroutine[Any, Any, None]) -> None:
        task = worker.answering[question.number] = asyncio.create_task(work)
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)
        task.add_done_callback(lambda _: worker.answering.pop(question.number))

    async def _refresh(self, worker: WorkerProcess, number: int) -> None:
        try:
            changed = await self._services.registry.refresh()
        except (IngrainError, OSError) as error:
            log.warning("The list of models could not be read: %s", error)
            changed = False
        self._publisher.publish()
        worker.channel.send(Refreshed(number, changed))

    async def _load_on_demand(self, worker: WorkerProcess, asked: AskDemand) -> None:
        failure: IngrainError | None = None
        try:
            await self._services.registry.load_on_demand(asked.name, asked.library, asked.pretrained)
        except IngrainError as error:
            failure = error
        except Exception as broken:  # without an answer the request would wait until its deadline
            log.exception("A load on demand failed")
            failure = machine_fault(broken) or IngrainError(f"Model {asked.name!r} could not be loaded.")
        answer = Demanded(asked.number)
        if failure is not None:
            answer = Demanded(asked.number, failure.message, failure.code, failure.retry_after_s)
        worker.channel.send(answer)

    async def _tell_totals(self, worker: WorkerProcess, number: int) -> None:
        worker.channel.send(Totals(number, await self.totals()))

    async def _tell_statistics(self, worker: WorkerProcess, number: int) -> None:
        try:
            answer = EngineStatistics(number, await self._services.statistics())
        except EngineError as error:
            answer = EngineStatistics(number, error=error.message)
        worker.channel.send(answer)

    # --- all workers ---------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        """Publish changes periodically, and kill workers that do not respond."""
        number = 0
        while True:
            await asyncio.sleep(_TICK_S)
            number += 1
            try:
                self._publisher.publish()
                self._send_changed_keys()
                if number % _TICKS_A_HEARTBEAT == 0:
                    for worker in list(self._workers.values()):
                        self._check_heartbeat(worker)
            except Exception:  # keep the loop running after any error
                log.exception("Publishing the state to the workers failed")

    def _send_changed_keys(self) -> None:
        file = self._services.keys_file
        if file is not None and file.known is not self._keys_sent:
            self._keys_sent = file.known
            for worker in self._workers.values():
                worker.channel.send(Keys(self._keys_sent))

    def _check_heartbeat(self, worker: WorkerProcess) -> None:
        if worker.missed_heartbeats >= (_MOST_MISSED if worker.is_up else _MOST_MISSED_AT_START):
            log.error("Worker %d does not respond and is killed", worker.number)
            worker.process.signal(signal.SIGKILL)
            worker.is_up = False
            self._pulse.beat()
        else:
            worker.ask_counts()
            worker.missed_heartbeats += 1

    def _takers(self) -> list[WorkerProcess]:
        return [worker for worker in self._publisher.up() if worker.takes_connections]

    def _describe(self) -> Follow:
        engine = self._services.engine
        return Follow(
            version=0,
            view=self._services.registry.view(),
            engine=engine.addresses if isinstance(engine, Shareable) else (),
            starting=self._starting(),
        )


def _worker_settings(settings: Settings) -> Settings:
    # Pass the keys themselves, so that all workers use the same keys even if the file changes.
    keys = tuple(key_lines(settings.api_keys, settings.api_keys_file))
    return msgspec.structs.replace(worker_share(settings), api_keys=keys, api_keys_file=None)
