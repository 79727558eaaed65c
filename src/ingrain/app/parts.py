"""Builds the parts of the server from its settings, without starting them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from ingrain.app.bundle import bundled_models
from ingrain.app.grpc_port import has_grpc
from ingrain.app.limits import queue_limits
from ingrain.app.model_memory import memory_policy
from ingrain.app.model_names import parse_model
from ingrain.app.placement import make_engine, placement_of, repository_of
from ingrain.app.precision import check_precisions, why_not
from ingrain.app.services import image_input, model_services
from ingrain.app.tables import Tables, load_tables
from ingrain.app.triton_metrics import with_metrics_port
from ingrain.app.tuning_machine import tuning_machine
from ingrain.engine.placement import Placement
from ingrain.engine.protocol import Engine
from ingrain.engine.triton.address import Shareable
from ingrain.errors import SettingsError
from ingrain.export.process.exporter import Exporter
from ingrain.install_hint import install_hint
from ingrain.models.loaded import check_model, open_model
from ingrain.registry.registry import Registry
from ingrain.repository.foreign import foreign_graphs
from ingrain.repository.graph_folder import GraphFolders
from ingrain.repository.models_to_load import ModelRef
from ingrain.repository.store import Repository
from ingrain.server.dialects.ollama.dialect import OLLAMA
from ingrain.server.http.tls import TlsCertificate
from ingrain.server.plane.services import ModelServices
from ingrain.settings import Settings

log = logging.getLogger("ingrain.repository")


@dataclass(slots=True)
class Startup:
    """Why a starting server is not ready: it waits for the engine and models, then for the inference plane."""

    waiting_for: str | None = "The engine is being started."
    front_waits_for: Callable[[], str | None] = lambda: None

    def reason(self) -> str | None:
        """Return the reason as a sentence, None if the server is ready."""
        return self.waiting_for or self.front_waits_for()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of a server.

    Attributes:
        settings: Settings of the server.
        tables: Engines and dialects, including those of extensions.
        placement: Where and how graphs run.
        models: Models to load at start.
        services: Services for the handlers of both planes.
        tls: Certificate of both planes; None for HTTP without TLS.
        startup: Why the server is not ready yet.
    """

    settings: Settings
    tables: Tables
    placement: Placement
    models: list[ModelRef]
    services: ModelServices
    tls: TlsCertificate | None = None
    startup: Startup = field(default_factory=Startup)


def build_parts(settings: Settings) -> Parts:
    """Check the settings, prepare the repository and connect all parts.

    Raises:
        SettingsError: A setting is invalid.
        RepositoryError: The model repository cannot be written, or the bundle cannot be used.
    """
    tables = load_tables(settings.extensions, settings.dialects)
    if settings.inference_port == settings.model_port != 0:
        raise SettingsError(
            f"Both planes have port {settings.model_port}: INGRAIN_INFERENCE_PORT and INGRAIN_MODEL_PORT must differ.",
            param="INGRAIN_MODEL_PORT",
        )
    if settings.ollama_port is not None and OLLAMA not in tables.dialects:
        raise SettingsError(
            f"INGRAIN_OLLAMA_PORT is {settings.ollama_port}, but INGRAIN_DIALECTS leaves `ollama` out.",
            param="INGRAIN_OLLAMA_PORT",
        )
    if settings.grpc_port and not has_grpc(settings, tables.dialects):
        log.warning("There is no gRPC: INGRAIN_GRPC_PORT is set, but INGRAIN_DIALECTS leaves `kserve` out.")
    placement = placement_of(settings, tables.engines)
    settings = with_metrics_port(settings, placement)
    models = [parse_model(text) for text in settings.models]
    check_precisions(settings, placement, models)
    engine = make_engine(settings, placement, tables.engines)
    check_workers(settings, placement, engine)
    tls = TlsCertificate.from_files(settings.tls_cert_file, settings.tls_key_file)
    repository = repository_of(settings)
    repository.prepare()
    models += bundled_models(settings, repository)
    if foreign := foreign_graphs(repository.root):
        log.info("Graphs of another program in the repository are left alone: %s", ", ".join(foreign))
    startup = Startup()
    services = _services(settings, placement, engine, repository, startup)
    return Parts(
        settings=settings,
        tables=tables,
        placement=placement,
        models=models,
        services=services,
        tls=tls,
        startup=startup,
    )


def _services(
    settings: Settings, placement: Placement, engine: Engine, repository: Repository, startup: Startup
) -> ModelServices:
    images = image_input(settings)
    limits = queue_limits(settings, placement)
    exporter = Exporter(
        custom_models_dir=repository.custom.folder,
        local_models_dir=settings.local_models_dir,
        token=settings.hf_token,
        offline=settings.offline or settings.hub_offline,
        trust_remote_code=settings.trust_remote_code,
        pickled_weights=settings.pickled_weights == "allow",
        # Not for a remote Triton: its GPU, ONNX Runtime or TensorRT may not support fused operators.
        on_gpu=placement.on_this_gpu,
        packs_tokens=placement.on_a_cpu,
        extensions=settings.extensions,
        timeout_s=settings.export_timeout_s,
        memory_share=settings.export_memory,
    )
    registry = Registry(
        repository=repository,
        engine=engine,
        export=exporter.export,
        folders=GraphFolders(folder_of=repository.graph_folder, backend=engine.backend, policy=placement.policy),
        open_model=partial(
            # Without workers this process serves the inference plane, and always the console and Ollama's port.
            open_model
            if settings.workers == 1 or settings.console or settings.ollama_port is not None
            else check_model,
            engine=engine,
            limits=limits,
            images=images.preprocessor,
        ),
        max_loaded_models=settings.max_loaded_models,
        load_timeout_s=settings.load_timeout_s,
        default_precision=settings.precision,
        why_not=partial(why_not, placement),
        place=tuning_machine(settings, placement),
        tune_at_load=settings.tune_at_load,
        memory=memory_policy(settings, placement),
    )
    return model_services(
        settings,
        placement,
        engine=engine,
        registry=registry,
        images=images,
        starting=startup.reason,
        row_cache=limits.row_cache,
    )


def check_workers(settings: Settings, placement: Placement, engine: Engine) -> None:
    """Check that the workers can share the engine, if there is more than one worker.

    Raises:
        SettingsError: This is not Linux, or workers cannot run graphs on this engine.
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
    if not isinstance(engine, Shareable):
        raise SettingsError(
            f"INGRAIN_WORKERS is {settings.workers}, but workers cannot connect to {placement.description}: this "
            "engine has no address for them. Choose another INGRAIN_ENGINE, or set INGRAIN_WORKERS=1.",
            param="INGRAIN_WORKERS",
        )
