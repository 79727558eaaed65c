"""Decides from the settings where and how graphs run, and creates the engine."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ingrain.engine.placement import Placement, place
from ingrain.engine.protocol import Engine
from ingrain.engine.table import ENGINES, EngineOptions, EngineSpec
from ingrain.errors import SettingsError
from ingrain.python_backend import cuda
from ingrain.repository.execution_policy import ExecutionPolicy
from ingrain.repository.store import Repository
from ingrain.settings import Settings

log = logging.getLogger("ingrain.engine")


def repository_of(settings: Settings) -> Repository:
    """Return the model repository."""
    return Repository(settings.repository.expanduser().resolve())


def engine_options(settings: Settings) -> EngineOptions:
    """Return the options of engines."""
    return EngineOptions(
        graphs=repository_of(settings).triton,
        load_timeout_s=settings.load_timeout_s,
        triton_grpc_url=settings.triton_grpc_url,
        triton_backend=settings.triton_backend,
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
    return engines[placement.engine].make(engine_options(settings), placement.policy, gpus)
