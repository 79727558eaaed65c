"""Runs a worker: a process that serves the inference plane and that the main process starts."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ingrain.app.event_loop import loop_factory
from ingrain.app.followers import close_followers
from ingrain.app.garbage_collection import collect_seldom
from ingrain.app.grpc_port import grpc_server
from ingrain.app.limits import http_limits, queue_limits
from ingrain.app.logs import configure_logs
from ingrain.app.placement import local_repository
from ingrain.app.services import image_input, inference_services
from ingrain.app.tables import load_tables
from ingrain.app.workers.dispatcher import ConnectionReceiver
from ingrain.app.workers.messages import (
    Applied,
    Channel,
    Count,
    Counted,
    Finish,
    Follow,
    Keys,
    Leaving,
    Setup,
    ToWorker,
)
from ingrain.app.workers.requests_to_main import Questions
from ingrain.app.workers.shared_counters import SharedTable
from ingrain.batching.in_flight import EngineInFlight
from ingrain.engine.tritons.attached import AttachedEngine
from ingrain.errors import DamagedEntryError, EngineUnavailableError, SettingsError
from ingrain.models.loaded import LoadedModel, open_model
from ingrain.models.queues import QueueLimits
from ingrain.preprocess.image_input import ImageInput
from ingrain.registry.follower import FollowedRegistry, OpenKey
from ingrain.repository.store import Repository
from ingrain.server.http.server import HttpServer
from ingrain.server.http.tls import TlsCertificate
from ingrain.server.keys.windows import WindowTable
from ingrain.server.plane.application import PlaneApplication

if TYPE_CHECKING:
    from ingrain.server.grpc.server import GrpcServer

_OPEN_AGAIN_S = 1.0

log = logging.getLogger("ingrain.server")


class Worker:
    """Serves the models that the main process has loaded, on connections that the main process accepts.

    Args:
        number: Number of the worker, from 0.
        setup: First message of the main process.
        channel: Channel to the main process.
        table: Counters that all workers share.
        windows: What the named keys have taken in all processes; None if there is no keys file.
    """

    def __init__(
        self,
        number: int,
        setup: Setup,
        channel: Channel[ToWorker],
        table: SharedTable,
        windows: WindowTable | None = None,
    ) -> None:
        settings = setup.settings
        limits = replace(
            queue_limits(settings, setup.placement),
            shared_in_flight=partial(table.in_flight, number),
            in_flight=EngineInFlight(table.all_in_flight(number)),
        )
        self._number = number
        self._channel = channel
        self._table = table
        self._grace_s = 0.0
        self._finish: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._version = 0
        self._starting: str | None = None
        self._has_changed = asyncio.Event()
        self._questions = Questions(channel)
        self._engine = AttachedEngine(instances=setup.instances, statistics=self._questions.statistics)
        self._images = image_input(settings)
        self._models = FollowedRegistry(
            _opener(local_repository(settings), self._engine, limits, self._images),
            refresh=self._questions.refresh,
            suspect=self._questions.suspect,
            demand=self._questions.demand if settings.load_on_demand else None,
        )
        self._services = inference_services(
            settings,
            setup.placement,
            engine=self._engine,
            registry=self._models,
            images=self._images,
            starting=lambda: self._starting,
            statistics=self._engine.statistics,
            totals=self._questions.totals,
            row_cache=limits.row_cache,
            windows=windows,
            process=process_name(number),
        )
        dialects = load_tables(settings.extensions, settings.dialects).dialects
        tls = TlsCertificate.from_files(settings.tls_cert_file, settings.tls_key_file)
        self._http = HttpServer(
            PlaneApplication("inference", self._services, dialects),
            http_limits(settings),
            self._services.bodies,
            on_closed=lambda: table.count_closed(number),
            tls=tls,
        )
        self._grpc = grpc_server(settings, dialects, self._services, tls)
        self._grpc_address = settings.host, settings.grpc_port

    async def serve(self, connections: socket.socket) -> None:
        """Serve until the main process sends ``Finish``; exit at once if the main process dies."""
        await self._http.start(None)
        receiver = ConnectionReceiver(connections, self._http.adopt, lambda: self._table.count_closed(self._number))
        looking = self._services.telemetry.rates.keep_looking()
        tasks = [asyncio.create_task(work) for work in (self._listen(), self._keep_up(), looking)]
        try:
            await asyncio.wait({self._finish, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            # If a task failed, the worker no longer follows the main process: raise, so that a new worker replaces it.
            for task in tasks:
                if task.done():
                    task.result()
            receiver.close()
            await asyncio.gather(*(server.stop(self._grace_s) for server in self._servers))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._models.close(EngineUnavailableError("The server is shutting down.", retry_after_s=5))
            await self._engine.close()
            await self._images.aclose()
            await close_followers(self._services)
            self._channel.close()

    @property
    def _servers(self) -> list[HttpServer | GrpcServer]:
        return [self._http] if self._grpc is None else [self._http, self._grpc]

    async def _listen(self) -> None:
        while (message := await self._channel.receive()) is not None:
            self._hear(message)
        # The main process and the engine are gone, so no request in progress can be completed.
        os._exit(1)

    def _hear(self, message: ToWorker) -> None:
        match message:
            case Follow():
                self._engine.attach(message.engine)
                self._models.follow(message.view, message.everywhere)
                self._version, self._starting = message.version, message.starting
                self._has_changed.set()
            case Keys():
                assert self._services.keys.named is not None
                self._services.keys.named.replace(message.known)
            case Count():
                self._channel.send(Counted(self._services.telemetry.counts(), self._models.uses()))
            case Finish():
                if not self._finish.done():
                    self._grace_s = message.grace_s
                    self._finish.set_result(None)
                elif message.grace_s == 0:
                    for server in self._servers:
                        server.hurry()
            case Setup():
                log.error("The main process sent a second Setup message")
            case _:
                self._questions.answer(message)

    async def _keep_up(self) -> None:
        """Open new models, retry those that failed to open, and report the version of the state that is applied.

        A model that is unloaded while it has requests delays no other; it is reported as leaving until they are done.

        gRPC is served as soon as the first state is applied; the main process passes on connections from then on, too.
        """
        missing: frozenset[int] = frozenset()
        must_start_grpc = self._grpc is not None
        while True:
            try:
                async with asyncio.timeout(_OPEN_AGAIN_S if missing else None):
                    await self._has_changed.wait()
            except TimeoutError:
                pass  # retry the missing models
            self._has_changed.clear()
            version = self._version
            self._models.put_away(self._has_changed.set)
            missing = await self._models.open_missing()
            if must_start_grpc and self._grpc is not None:
                must_start_grpc = False
                await self._grpc.start(*self._grpc_address)
            if version == self._version:
                self._channel.send(Applied(version, missing, self._models.leaving))


def main(arguments: Sequence[str]) -> None:
    """Run a worker.

    Args:
        arguments: Number of this worker, number of workers, and the inherited file descriptors of the message socket,
            the connection socket, the shared table and, if there is a keys file, the windows of its keys.
    """
    number, workers, control, connections, table, *windows = map(int, arguments)
    collect_seldom()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(
            _run(
                number,
                socket.socket(fileno=control),
                socket.socket(fileno=connections),
                SharedTable(table, workers),
                WindowTable.attached(windows[0], workers + 1, number) if windows else None,
            )
        )


async def _run(
    number: int,
    control: socket.socket,
    connections: socket.socket,
    table: SharedTable,
    windows: WindowTable | None,
) -> None:
    channel: Channel[ToWorker] = await Channel.on(ToWorker, control)
    setup = await channel.receive()
    if not isinstance(setup, Setup):
        return  # the main process ended before it sent Setup
    configure_logs(setup.settings.log_level, setup.settings.log_format, process=process_name(number))
    loop = asyncio.get_running_loop()
    # A signal to a single worker shuts it down cleanly: the main process first stops sending it connections.
    loop.add_signal_handler(signal.SIGTERM, lambda: channel.send(Leaving()))
    loop.add_signal_handler(signal.SIGINT, lambda: channel.send(Leaving()))
    try:
        worker = Worker(number, setup, channel, table, windows)
    except SettingsError as error:  # the TLS files are unusable since the server started
        log.error("%s", error.message)
        sys.exit(1)
    await worker.serve(connections)


def process_name(number: int) -> str:
    """Return the name of a worker in the log."""
    return f"worker {number}"


def _opener(repository: Repository, engine: AttachedEngine, limits: QueueLimits, images: ImageInput) -> OpenKey:
    def open_key(key: str) -> LoadedModel:
        entry = repository.find(key)
        if entry is None:
            raise DamagedEntryError("The model was deleted from the repository.")
        return open_model(entry, engine, limits, images.preprocessor)

    return open_key


if __name__ == "__main__":
    main(sys.argv[1:])
