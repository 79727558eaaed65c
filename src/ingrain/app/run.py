"""Puts the server together from its settings, runs it, and takes it apart."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ingrain.app.banner import announce, watch_progress
from ingrain.app.event_loop import loop_factory
from ingrain.app.garbage import collect_seldom
from ingrain.app.limits import http_limits, queue_limits
from ingrain.app.listen import open_socket, stop_on_signals
from ingrain.app.logs import configure_logs
from ingrain.app.model_names import parse_model
from ingrain.app.placement import make_engine, placement_of, repository_of
from ingrain.app.precision import check_precisions, why_not
from ingrain.app.services import image_input, model_services
from ingrain.app.tables import Tables, load_tables
from ingrain.app.tuning_place import tuning_place
from ingrain.app.workers.supervisor import Supervisor
from ingrain.engine.placement import Placement
from ingrain.errors import EngineUnavailableError, SettingsError
from ingrain.export.process.exporter import Exporter
from ingrain.install import install_hint
from ingrain.models.loaded import check_model, open_model
from ingrain.registry.registry import Registry
from ingrain.repository.desired import ModelRef
from ingrain.repository.graph_folder import prepare_graph_folder
from ingrain.repository.store import Repository
from ingrain.server.http.server import HttpServer
from ingrain.server.http.tls import TlsCertificate
from ingrain.server.plane.application import PlaneApplication
from ingrain.server.plane.services import ModelServices
from ingrain.settings import Settings

_ENGINE_RETRY_S = 2.0

log = logging.getLogger("ingrain.server")


@dataclass(slots=True)
class _Startup:
    """What a server that has just been started still waits for: the engine, then whoever serves the inference plane."""

    waiting_for: str | None = "The engine is being started."
    front_waits_for: Callable[[], str | None] = lambda: None

    def reason(self) -> str | None:
        """Return it as a sentence, None if the server waits for nothing."""
        return self.waiting_for or self.front_waits_for()


def run(settings: Settings) -> None:
    """Serve until a signal ends it.

    Raises:
        SettingsError: A setting cannot be used.
        RepositoryError: The model repository cannot be written.
    """
    # The engine's child processes never use our gRPC channels; without this gRPC warns at each fork.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    configure_logs(settings.log_level, settings.log_format)
    tables = load_tables(settings.extensions)
    placement = placement_of(settings, tables.engines)
    check_workers(settings, placement)
    models = [parse_model(text) for text in settings.models]
    check_precisions(settings, placement, models)
    tls = TlsCertificate.from_settings(settings)
    repository = repository_of(settings)
    repository.prepare()
    startup = _Startup()
    services = build_services(settings, placement, tables, repository, startup.reason)
    listeners = [
        open_socket(settings.host, settings.inference_port, "INGRAIN_INFERENCE_PORT"),
        open_socket(settings.host, settings.model_port, "INGRAIN_MODEL_PORT"),
    ]
    scheme = "http" if tls is None else "https"
    inference, model = (f"{scheme}://{settings.host}:{listener.getsockname()[1]}" for listener in listeners)
    log.info("Listening: inference plane %s, model plane %s", inference, model)
    collect_seldom()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(settings, placement, tables, services, startup, models, listeners, tls))


def build_services(
    settings: Settings,
    placement: Placement,
    tables: Tables,
    repository: Repository,
    starting: Callable[[], str | None],
) -> ModelServices:
    """Connect engine, registry and pipeline; nothing is started."""
    engine = make_engine(settings, placement, tables.engines)
    images = image_input(settings)
    exporter = Exporter(
        custom_models_dir=repository.custom.folder,
        local_models_dir=settings.local_models_dir,
        token=settings.hf_token,
        offline=settings.offline,
        trust_remote_code=settings.trust_remote_code,
        pickled_weights=settings.pickled_weights == "allow",
        # A Triton elsewhere may have another GPU, an older ONNX Runtime, or TensorRT, which knows no fused operators.
        on_gpu=placement.on_this_gpu,
        timeout_s=settings.export_timeout_s,
    )
    registry = Registry(
        repository=repository,
        engine=engine,
        export=exporter.export,
        prepare_graph=partial(prepare_graph_folder, repository.graph_folder, engine.backend, placement.policy),
        open_model=partial(
            open_model if settings.workers == 1 else check_model,
            engine=engine,
            limits=queue_limits(settings, placement),
            images=images.preprocessor,
        ),
        max_loaded_models=settings.max_loaded_models,
        load_timeout_s=settings.load_timeout_s,
        default_precision=settings.precision,
        why_not=partial(why_not, placement),
        place=tuning_place(settings, placement),
        tune_at_load=settings.tune_at_load,
    )
    return model_services(settings, placement, engine=engine, registry=registry, images=images, starting=starting)


async def _serve(
    settings: Settings,
    placement: Placement,
    tables: Tables,
    services: ModelServices,
    startup: _Startup,
    models: list[ModelRef],
    listeners: list[socket.socket],
    tls: TlsCertificate | None,
) -> None:
    stop = asyncio.Event()
    stop_on_signals(stop)
    limits = http_limits(settings)
    model = HttpServer(PlaneApplication("model", services, tables.dialects), limits, tls=tls)
    servers = [_inference_front(services, placement, tables, startup, tls), model]
    for server, listener in zip(servers, listeners, strict=True):
        await server.start(listener)
    starting = asyncio.create_task(_start(services, startup, models, stop))
    announcing = asyncio.create_task(announce(settings, services, listeners))
    watching = asyncio.create_task(watch_progress(services))
    try:
        await stop.wait()
        services.registry.stop_tuning()  # or the model plane would wait for it
        await asyncio.gather(*(server.stop(settings.shutdown_timeout_s) for server in servers))
    finally:
        for task in (starting, announcing, watching):
            task.cancel()
        ended = await asyncio.gather(starting, announcing, watching, return_exceptions=True)
        await services.registry.close()
        await services.engine.close()
        await services.pipeline.images.aclose()
        await services.downloads.aclose()
    failure = ended[0]
    if isinstance(failure, Exception):
        raise failure


async def _start(services: ModelServices, startup: _Startup, models: list[ModelRef], stop: asyncio.Event) -> None:
    """Start the engine, however often it takes, then the models; a fault nobody foresaw ends the server."""
    try:
        while True:
            try:
                await services.engine.start()
                break
            except EngineUnavailableError as error:
                log.warning("%s Trying again in %g s.", error.message, _ENGINE_RETRY_S)
                startup.waiting_for = "The engine does not answer yet."
                await asyncio.sleep(_ENGINE_RETRY_S)
        await services.registry.start(models)
        startup.waiting_for = None
    except Exception:  # whatever it is, a server that serves nothing must not seem to run
        log.exception("The server could not be started")
        stop.set()
        raise


def _inference_front(
    services: ModelServices, placement: Placement, tables: Tables, startup: _Startup, tls: TlsCertificate | None
) -> HttpServer | Supervisor:
    """Make what serves the inference plane: this process, or workers."""
    if services.settings.workers == 1:
        application = PlaneApplication("inference", services, tables.dialects)
        return HttpServer(application, http_limits(services.settings), tls=tls)
    supervisor = Supervisor(services, placement, lambda: startup.waiting_for)
    startup.front_waits_for = supervisor.waiting_for
    return supervisor


def check_workers(settings: Settings, placement: Placement) -> None:
    """Refuse several workers where they cannot share one engine.

    Raises:
        SettingsError: They cannot.
    """
    if settings.workers == 1:
        return
    if not sys.platform.startswith("linux"):
        raise SettingsError(
            f"INGRAIN_WORKERS is {settings.workers}; more than one worker needs Linux.", param="INGRAIN_WORKERS"
        )
    if placement.in_server_process:
        raise SettingsError(
            f"INGRAIN_WORKERS is {settings.workers}, but graphs run on {placement.description}: each worker would load "
            f"every model for itself. Use the embedded Triton ({install_hint('triton')}) or a Triton at "
            "TRITON_GRPC_URL, or set INGRAIN_WORKERS=1.",
            param="INGRAIN_WORKERS",
        )
