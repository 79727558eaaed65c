"""The settings in, what tunings need to know of this machine out."""

from __future__ import annotations

import hashlib

from ingrain.app.limits import queue_limits
from ingrain.backend import cuda
from ingrain.cores import processor_name, usable_cores
from ingrain.engine.placement import (
    default_batch_size,
    devices,
    engine_name,
    execution_policy,
    instance_kind,
    runs_on_this_cpu,
    runs_on_this_gpu,
)
from ingrain.repository.tuning import Execution, Layout, Machine
from ingrain.settings import Settings
from ingrain.tuning.memory import free_bytes
from ingrain.tuning.place import ITEMS_SETTING, LAYOUT_SETTINGS, TOKENS_SETTING, TuningPlace


def tuning_place(settings: Settings) -> TuningPlace:
    """Return what this server knows of how graphs are executed on it."""
    policy, limits = execution_policy(settings), queue_limits(settings)
    copies, threads = LAYOUT_SETTINGS
    values = {
        copies: settings.model_instances,
        threads: settings.threads_per_instance,
        ITEMS_SETTING: settings.max_batch_size,
        TOKENS_SETTING: settings.max_batch_tokens,
    }
    return TuningPlace(
        machine=Machine(
            engine=_engine(settings),
            instance_kind=instance_kind(settings),
            cores=usable_cores(),
            processor=_processor(settings),
        ),
        default=Execution(
            layout=Layout(policy.instances, policy.threads),
            max_items=default_batch_size(settings),
            max_tokens=limits.max_batch_tokens,
        ),
        given={name: value for name, value in values.items() if value},
        most_items=policy.max_batch_size,
        enough_items=limits.enough_items,
        sweeps_layouts=runs_on_this_cpu(settings),
        free_bytes=free_bytes,
        lone_threads=policy.lone_threads,
        devices=devices(settings),
    )


def _processor(settings: Settings) -> str:
    """Name what graphs run on, so that a tuning is never taken for another's; this processor for a Triton elsewhere."""
    if runs_on_this_gpu(settings):
        return ", ".join(cuda.gpu_names())
    return processor_name()


def _engine(settings: Settings) -> str:
    """Name what runs the graphs, and how, so that a tuning is never taken for another's."""
    name = engine_name(settings)
    if name != "triton":
        return name
    # Of a Triton elsewhere the address alone tells it from others; it is nobody's business who reads the manifest.
    address = hashlib.sha256((settings.triton_grpc_url or "").encode()).hexdigest()[:10]
    switches = {"tensorrt": settings.tensorrt_enabled, "fp16": settings.fp16_enabled}
    return "/".join([name, settings.triton_backend, *(word for word, is_on in switches.items() if is_on), address])
