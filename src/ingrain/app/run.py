"""Put the server together from its settings, run it, and take it apart."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ingrain.app.banner import announce, watch_progress
from ingrain.app.event_loop import loop_factory
from ingrain.app.garbage import collect_seldom
from ingrain.app.limits import http_limits, queue_limits, request_limits
from ingrain.app.listen import open_socket, stop_on_signals
from ingrain.app.logs import configure_logs
from ingrain.app.model_names import parse_model
from ingrain.app.tuning_place import tuning_place
from ingrain.app.workers.supervisor import Supervisor
from ingrain.engine.placement import choose_engine, engine_name, execution_policy, runs_on_this_gpu
from ingrain.engine.protocol import Engine
from ingrain.errors import EngineUnavailableError, SettingsError
from ingrain.export.process.job import ExportJob, Progress
from ingrain.export.process.runner import run_export
from ingrain.fetch.fetcher import Fetcher
from ingrain.fetch.policy import FetchPolicy
from ingrain.models.loaded import LoadedModel, open_model
from ingrain.pipeline.pipeline import Pipeline
from ingrain.preprocess.image_input import ImageInput, ImageLimits
from ingrain.registry.graphs import PrepareGraph
from ingrain.registry.loader import OpenModel
from ingrain.registry.maker import Export
from ingrain.registry.registry import Registry
from ingrain.repository.desired import ModelRef
from ingrain.repository.graph_folder import write_graph_folder
from ingrain.repository.manifest import Graph, Manifest
from ingrain.repository.policy import ExecutionPolicy
from ingrain.repository.store import Entry, Repository
from ingrain.repository.tuning import Layout
from ingrain.server.dialects.table import DIALECTS
from ingrain.server.http.server import HttpServer
from ingrain.server.plane.application import PlaneApplication
from ingrain.server.plane.auth import parse_keys
from ingrain.server.plane.precision import check_settings, why_not
from ingrain.server.plane.services import ModelServices
from ingrain.server.plane.telemetry import Load, Telemetry
from ingrain.settings import Settings
from ingrain.sources.custom.download import Downloads

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
    if settings.workers > 1:
        _check_workers(settings)
    models = [parse_model(text) for text in settings.models]
    check_settings(settings, models)
    repository = Repository(settings.repository.expanduser().resolve())
    repository.prepare()
    services, startup = build_services(settings, repository)
    listeners = [
        open_socket(settings.host, settings.inference_port, "INGRAIN_INFERENCE_PORT"),
        open_socket(settings.host, settings.model_port, "INGRAIN_MODEL_PORT"),
    ]
    inference, model = (f"http://{settings.host}:{listener.getsockname()[1]}" for listener in listeners)
    log.info("Listening: inference plane %s, model plane %s", inference, model)
    collect_seldom()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(settings, services, startup, models, listeners))


def build_services(settings: Settings, repository: Repository) -> tuple[ModelServices, _Startup]:
    """Connect engine, registry and pipeline; nothing is started."""
    policy = execution_policy(settings)
    engine = choose_engine(settings, repository, policy)
    images = ImageInput(Fetcher(FetchPolicy.from_settings(settings)), ImageLimits.from_settings(settings))
    registry = Registry(
        repository=repository,
        engine=engine,
        export=_exporter(settings, repository),
        prepare_graph=_graph_writer(repository, engine, policy),
        open_model=_opener(settings, engine, images),
        max_loaded_models=settings.max_loaded_models,
        load_timeout_s=settings.load_timeout_s,
        default_precision=settings.precision,
        why_not=lambda precision: why_not(precision, settings),
        place=tuning_place(settings),
        tune_at_load=settings.tune_at_load,
    )
    startup = _Startup()
    load = Load()
    services = ModelServices(
        settings=settings,
        engine=engine,
        registry=registry,
        downloads=Downloads.from_settings(settings, repository),
        pipeline=Pipeline(registry, images, request_limits(settings)),
        telemetry=Telemetry(registry, load),
        keys=parse_keys(settings.api_keys, settings.api_keys_file),
        load=load,
        starting=startup.reason,
        statistics=registry.statistics,
    )
    return services, startup


async def _serve(
    settings: Settings,
    services: ModelServices,
    startup: _Startup,
    models: list[ModelRef],
    listeners: list[socket.socket],
) -> None:
    stop = asyncio.Event()
    stop_on_signals(stop)
    limits = http_limits(settings)
    servers = [_inference_front(services, startup), HttpServer(PlaneApplication("model", services, DIALECTS), limits)]
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


def _inference_front(services: ModelServices, startup: _Startup) -> HttpServer | Supervisor:
    """Make what serves the inference plane: this process, or workers."""
    if services.settings.workers == 1:
        return HttpServer(PlaneApplication("inference", services, DIALECTS), http_limits(services.settings))
    supervisor = Supervisor(services, lambda: startup.waiting_for)
    startup.front_waits_for = supervisor.waiting_for
    return supervisor


def _check_workers(settings: Settings) -> None:
    if not sys.platform.startswith("linux"):
        raise SettingsError(
            f"INGRAIN_WORKERS is {settings.workers}; more than one worker needs Linux.", param="INGRAIN_WORKERS"
        )
    if engine_name(settings) == "onnxruntime":
        raise SettingsError(
            f"INGRAIN_WORKERS is {settings.workers}, but ONNX Runtime would run the graphs inside the server: each "
            "worker would load every model for itself. Use the embedded Triton (pip install 'ingrain[triton]') or a "
            "Triton at TRITON_GRPC_URL, or set INGRAIN_WORKERS=1.",
            param="INGRAIN_WORKERS",
        )


def _opener(settings: Settings, engine: Engine, images: ImageInput) -> OpenModel:
    limits = queue_limits(settings)

    def open_here(entry: Entry) -> LoadedModel:
        return open_model(entry, engine, limits, images.preprocessor)

    def try_to_open(entry: Entry) -> LoadedModel:
        # The workers serve it. What they would stumble over shows here, while the load can still fail.
        return LoadedModel(manifest=open_here(entry).manifest)

    return open_here if settings.workers == 1 else try_to_open


def _exporter(settings: Settings, repository: Repository) -> Export:
    # A Triton elsewhere may have another GPU, an older ONNX Runtime, or TensorRT, which knows no fused operators.
    on_gpu = runs_on_this_gpu(settings)

    async def export(ref: ModelRef, output: Path, on_progress: Callable[[Progress], None]) -> None:
        job = ExportJob(
            name=ref.name,
            library=ref.library,
            pretrained=ref.pretrained,
            revision=ref.revision,
            output=str(output),
            local_models_dir=str(settings.local_models_dir.resolve()) if settings.local_models_dir else None,
            custom_models_dir=str(repository.custom.folder),
            token=settings.hf_token,
            offline=settings.offline,
            trust_remote_code=settings.trust_remote_code,
            pickled_weights=settings.pickled_weights == "allow",
            precision=ref.precision or "fp32",
            task=ref.task,
            on_gpu=on_gpu,
        )
        await run_export(job, timeout_s=settings.export_timeout_s, on_progress=on_progress)

    return export


def _graph_writer(repository: Repository, engine: Engine, policy: ExecutionPolicy) -> PrepareGraph:
    def write(manifest: Manifest, graph: Graph, layout: Layout | None) -> bool:
        max_tokens = manifest.text.max_tokens if manifest.text is not None else None
        folder = repository.graph_folder(graph.name)
        chosen = policy if layout is None else replace(policy, instances=layout.copies, threads=layout.threads)
        return write_graph_folder(folder, graph, engine.backend, chosen, max_tokens=max_tokens)

    return write
