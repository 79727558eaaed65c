"""Decides from the settings where and how graphs run, and creates the engine."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ingrain.app.triton_metrics import metrics_port
from ingrain.engine.placement import Placement, place
from ingrain.engine.protocol import Engine
from ingrain.engine.table import ENGINES, EngineOptions, EngineSpec
from ingrain.errors import SettingsError
from ingrain.python_backend import cuda
from ingrain.repository.execution_policy import ExecutionPolicy
from ingrain.repository.object_storage.repository import ObjectStorageRepository
from ingrain.repository.object_storage.store import ObjectStore, is_url
from ingrain.repository.store import Repository
from ingrain.settings import Settings

log = logging.getLogger("ingrain.engine")


def repository_of(settings: Settings) -> Repository:
    """Return the model repository.

    Raises:
        SettingsError: Its URL is malformed, the package for its object storage is not installed, or the server is
            offline.
    """
    if not is_url(settings.repository):
        return local_repository(settings)
    if settings.offline:
        raise SettingsError(
            "INGRAIN_OFFLINE is on, but INGRAIN_REPOSITORY is in object storage. Set INGRAIN_REPOSITORY to a folder.",
            param="INGRAIN_OFFLINE",
        )
    store = ObjectStore(settings.repository)
    return ObjectStorageRepository(store, repository_folder(settings), max_bytes=settings.repository_cache_bytes)


def local_repository(settings: Settings) -> Repository:
    """Return the folder from which models are served: the repository itself, or the local copy of object storage."""
    return Repository(repository_folder(settings))


def repository_folder(settings: Settings) -> Path:
    """Return the folder from which models are served."""
    if not is_url(settings.repository):
        return Path(settings.repository).expanduser().resolve()
    # A folder of its own for each URL: the local copy loses what the object storage does not have.
    url = settings.repository.rstrip("/")
    name = f"{re.sub(r'[^a-z0-9]+', '-', url.lower()).strip('-')[:48]}-{hashlib.sha256(url.encode()).hexdigest()[:10]}"
    return settings.repository_cache.expanduser().resolve() / name


def engine_options(settings: Settings) -> EngineOptions:
    """Return the options of engines."""
    return EngineOptions(
        graphs=local_repository(settings).triton,
        load_timeout_s=settings.load_timeout_s,
        triton_grpc_url=settings.triton_grpc_url,
        triton_backend=settings.triton_backend,
        model_replicas=settings.model_replicas,
    )


def placement_of(settings: Settings, engines: Mapping[str, EngineSpec] = ENGINES) -> Placement:
    """Decide where and how graphs run.

    Raises:
        SettingsError: The engine is unknown or unavailable.
    """
    given = ExecutionPolicy(
        max_batch_size=settings.max_batch_size,
        dynamic_batching=settings.dynamic_batching,
        instance_kind=settings.instance_kind,
        instances=settings.model_instances,
        threads=settings.threads_per_instance,
        lone_threads=settings.lone_request_threads,
        tensorrt=settings.tensorrt_enabled,
        fp16=settings.fp16_enabled,
    )
    options = engine_options(settings)
    return place(engines, settings.engine, options, given, batch_tokens=settings.max_batch_tokens)


def make_engine(settings: Settings, placement: Placement, engines: Mapping[str, EngineSpec] = ENGINES) -> Engine:
    """Create the engine without starting it.

    Raises:
        SettingsError: INSTANCE_KIND is KIND_GPU, but graphs cannot run on a GPU of this machine.
    """
    if placement.on_this_machine and placement.gpu_problem is not None:
        if settings.instance_kind == "KIND_GPU":
            raise SettingsError(
                f"INSTANCE_KIND is KIND_GPU but no GPU can be used: {placement.gpu_problem}. KIND_AUTO falls back to "
                "the CPU.",
                param="INSTANCE_KIND",
            )
        if settings.instance_kind == "KIND_AUTO" and cuda.gpu_count():
            log.warning("Graphs run on the CPU, although this machine has a GPU: %s.", placement.gpu_problem)
    if placement.passed_over is not None:
        log.warning("Graphs run in this process: %s", placement.passed_over)
    gpus = cuda.gpu_count() if placement.on_this_gpu else 0
    options = replace(engine_options(settings), metrics_port=metrics_port(settings, placement))
    return engines[placement.engine].make(options, placement.policy, gpus)
