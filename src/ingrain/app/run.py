"""Runs the server: starts its parts, serves both planes until a signal, and shuts down."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ingrain.app.banner import announce, plane_urls, watch_progress
from ingrain.app.event_loop import loop_factory
from ingrain.app.followers import close_followers
from ingrain.app.garbage_collection import collect_seldom
from ingrain.app.grpc_port import grpc_server, has_grpc
from ingrain.app.keys import watch_keys
from ingrain.app.limits import http_limits
from ingrain.app.listen import end_on_signals, open_socket, stop_on_signals
from ingrain.app.log_output import take_output
from ingrain.app.logs import configure_logs, output_line
from ingrain.app.object_storage import follow_object_storage
from ingrain.app.parts import Parts, build_parts
from ingrain.app.warnings import warn
from ingrain.app.workers.supervisor import Supervisor
from ingrain.errors import EngineSetupError, EngineUnavailableError
from ingrain.server.console.pages import console_pages
from ingrain.server.dialects.ollama.dialect import on_own_port
from ingrain.server.http.server import HttpServer
from ingrain.server.plane.application import PlaneApplication
from ingrain.server.plane.route import Dialect
from ingrain.settings import Settings
from ingrain.vocabulary import Plane

if TYPE_CHECKING:
    from ingrain.server.grpc.server import GrpcServer

_ENGINE_RETRY_S = 2.0
_MODEL_PLANE_S = 5.0

log = logging.getLogger("ingrain.server")


def run(settings: Settings) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP.

    Raises:
        SettingsError: A setting is invalid.
        RepositoryError: The model repository cannot be written.
    """
    end_on_signals()
    # Child processes never use gRPC channels of this process; with fork support gRPC warns at each fork.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    # A slice of texts is tokenized on its own thread; otherwise each would use all cores. Workers inherit this.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if settings.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # for the source libraries in the processes of exports
    if settings.log_format == "json":
        take_output(output_line)
    configure_logs(settings.log_level, settings.log_format)
    warn(settings)
    parts = build_parts(settings)
    listeners = [
        open_socket(settings.host, settings.inference_port, "INGRAIN_INFERENCE_PORT"),
        open_socket(settings.host, settings.model_port, "INGRAIN_MODEL_PORT"),
    ]
    log.info("Listening: inference plane %s, model plane %s", *plane_urls(settings, listeners))
    if settings.ollama_port is not None:
        listeners.append(open_socket(settings.host, settings.ollama_port, "INGRAIN_OLLAMA_PORT"))
        log.info("Listening: Ollama's API %s", *plane_urls(settings, listeners[2:]))
    if has_grpc(settings, parts.tables.dialects):
        # gRPC's server binds the port itself, which several processes can do; another server's port must not be one.
        open_socket(settings.host, settings.grpc_port, "INGRAIN_GRPC_PORT").close()
        log.info("Listening: gRPC %s:%d", settings.host, settings.grpc_port)
    collect_seldom()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(parts, listeners))


async def _serve(parts: Parts, listeners: list[socket.socket]) -> None:
    settings, services = parts.settings, parts.services
    stop, hurry = asyncio.Event(), asyncio.Event()
    stop_on_signals(stop, hurry)
    servers: list[HttpServer | Supervisor] = [_inference_front(parts), _server(parts, "model", parts.tables.dialects)]
    if settings.ollama_port is not None:
        servers.append(_server(parts, "inference", on_own_port(parts.tables.dialects)))
    for server, listener in zip(servers, listeners, strict=True):
        await server.start(listener)
    grpc = grpc_server(settings, parts.tables.dialects, services, parts.tls) if settings.workers == 1 else None
    if grpc is not None:
        await grpc.start(settings.host, settings.grpc_port)
    starting = asyncio.create_task(_start(parts, stop))
    announcing = asyncio.create_task(announce(settings, services, listeners[:2]))
    watching = asyncio.create_task(watch_progress(services))
    following = asyncio.create_task(follow_object_storage(services.registry.repository))
    reading_keys = asyncio.create_task(watch_keys(services))
    counting = asyncio.create_task(services.telemetry.rates.keep_looking())
    try:
        await stop.wait()
        services.registry.stop_tuning()  # otherwise the model plane would wait for its end
        services.operations.stop_following()  # likewise
        further = [] if grpc is None else [grpc]
        await _stop_servers([*servers, *further], settings.shutdown_timeout_s, hurry)
    finally:
        tasks = (starting, announcing, watching, following, reading_keys, counting)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        await services.registry.close()
        await services.engine.close()
        await services.pipeline.images.aclose()
        await services.downloads.aclose()
        await close_followers(services)
    failure = ended[0]
    if isinstance(failure, Exception):
        raise failure


async def _stop_servers(
    servers: Sequence[HttpServer | Supervisor | GrpcServer], timeout_s: float, hurry: asyncio.Event
) -> None:
    """Stop all servers: the model plane, whose conversions may take minutes, within few seconds."""
    inference, model, *further = servers
    others = [server.stop(timeout_s) for server in (inference, *further)]
    stopping = asyncio.gather(model.stop(min(timeout_s, _MODEL_PLANE_S)), *others)
    hurrying = asyncio.create_task(hurry.wait())
    await asyncio.wait((stopping, hurrying), return_when=asyncio.FIRST_COMPLETED)
    for server in servers:
        server.hurry()
    hurrying.cancel()
    await stopping


async def _start(parts: Parts, stop: asyncio.Event) -> None:
    """Try to start the engine until it succeeds, then load the models. An unexpected error stops the server."""
    try:
        while True:
            try:
                await parts.services.engine.start()
                break
            except EngineUnavailableError as error:
                log.warning("%s Trying again in %g s.", error.message, _ENGINE_RETRY_S)
                is_setup = isinstance(error, EngineSetupError)
                parts.startup.waiting_for = error.message if is_setup else "The engine does not answer yet."
                await asyncio.sleep(_ENGINE_RETRY_S)
        await parts.services.registry.start(parts.models)
        parts.startup.waiting_for = None
    except Exception:  # without engine and models the server cannot serve, so stop it
        log.exception("The server could not be started")
        stop.set()
        raise


def _inference_front(parts: Parts) -> HttpServer | Supervisor:
    """Create the server of the inference plane: one in this process, or a supervisor of workers."""
    settings, services, startup = parts.settings, parts.services, parts.startup
    if settings.workers == 1:
        return _server(parts, "inference", parts.tables.dialects)
    supervisor = Supervisor(settings, parts.placement, services, lambda: startup.waiting_for)
    startup.front_waits_for = supervisor.waiting_for
    services.telemetry.gather = supervisor.totals
    return supervisor


def _server(parts: Parts, plane: Plane, dialects: Sequence[Dialect]) -> HttpServer:
    settings, services = parts.settings, parts.services
    console = None
    if plane == "model" and settings.console:
        console = console_pages(inference_port=settings.inference_port, needs_key=not services.keys.is_open)
    application = PlaneApplication(plane, services, dialects, console)
    return HttpServer(application, http_limits(settings), services.bodies, tls=parts.tls)
