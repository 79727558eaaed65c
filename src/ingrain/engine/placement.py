"""Which engine the settings mean, and how it is to execute graphs."""

from __future__ import annotations

import logging
from typing import Literal

from ingrain.backend import cuda
from ingrain.cores import usable_cores
from ingrain.engine.embedded.tritonserver import available
from ingrain.engine.protocol import Engine
from ingrain.errors import SettingsError
from ingrain.repository.policy import ExecutionPolicy, InstanceKind
from ingrain.repository.store import Repository
from ingrain.settings import Settings

_MOST_INSTANCES = 4
_MOST_ITEMS = 32
# A GPU computes many short texts in the time of a few; and so many pictures still fit the memory of a small one.
_MOST_ITEMS_ON_THIS_GPU = 64
# A graph refuses batches that are larger than it was loaded for. Room for what a tuning may choose costs nothing on a
# CPU; on a GPU warm-up and TensorRT take memory for the largest one, and a tuning chooses among smaller ones.
_MOST_TUNED_ITEMS_ON_A_CPU = 64

EngineName = Literal["embedded", "triton", "onnxruntime"]

log = logging.getLogger("ingrain.engine")


def engine_name(settings: Settings) -> EngineName:
    """Return the engine that the settings mean.

    Raises:
        SettingsError: It was named, and cannot be used.
    """
    if settings.engine == "triton" and not settings.triton_grpc_url:
        raise SettingsError(
            "INGRAIN_ENGINE is 'triton'; set TRITON_GRPC_URL to its gRPC address.", param="INGRAIN_ENGINE"
        )
    if settings.engine == "embedded" and (reason := available()) is not None:
        raise SettingsError(
            f"INGRAIN_ENGINE is 'embedded', which cannot be used here: {reason}", param="INGRAIN_ENGINE"
        )
    if settings.engine != "auto":
        return settings.engine
    if settings.triton_grpc_url:
        return "triton"
    return "embedded" if available() is None else "onnxruntime"


def instance_kind(settings: Settings) -> InstanceKind:
    """Return where graphs run. ``KIND_AUTO`` is left of a Triton elsewhere only, which decides for itself."""
    if settings.instance_kind != "KIND_AUTO" or engine_name(settings) == "triton":
        return settings.instance_kind
    return "KIND_GPU" if cuda.why_unusable() is None else "KIND_CPU"


def runs_on_this_cpu(settings: Settings) -> bool:
    """Tell whether graphs run on this machine's CPU, as far as the settings tell."""
    return engine_name(settings) != "triton" and not runs_on_this_gpu(settings)


def runs_on_this_gpu(settings: Settings) -> bool:
    """Tell whether graphs run on a GPU of this machine."""
    is_here = engine_name(settings) != "triton" and cuda.why_unusable() is None
    return is_here and instance_kind(settings) == "KIND_GPU"


def runs_on_a_gpu(settings: Settings) -> bool:
    """Tell whether graphs run on a GPU for certain, here or in a Triton elsewhere."""
    is_elsewhere = engine_name(settings) == "triton" and settings.instance_kind == "KIND_GPU"
    return is_elsewhere or runs_on_this_gpu(settings)


def execution_policy(settings: Settings) -> ExecutionPolicy:
    """Return how graphs are executed, with what the settings leave open decided.

    Under load two copies of one thread each do half as much again as one copy of two threads (triton-notes.md), so an
    engine on this machine's CPU gets a copy for each core. On this machine's GPU a copy needs one thread, to feed it.
    What a remote Triton has is not known here: one copy, and ONNX Runtime's own choice of threads.
    """
    local = runs_on_this_cpu(settings)
    cores = usable_cores()
    instances = settings.model_instances or (min(cores, _MOST_INSTANCES) if local else 1)
    threads = settings.threads_per_instance or _threads(settings, max(1, cores // instances))
    return ExecutionPolicy(
        max_batch_size=_loaded_batch_size(settings),
        dynamic_batching=settings.dynamic_batching,
        instance_kind=instance_kind(settings),
        instances=instances,
        threads=threads,
        lone_threads=_lone_threads(settings, threads, cores if local else 1),
        tensorrt=settings.tensorrt_enabled,
        fp16=settings.fp16_enabled,
    )


def _threads(settings: Settings, share: int) -> int:
    """Return the threads of one copy, whose share of the cores is given; 0 leaves it to the engine."""
    if runs_on_this_cpu(settings):
        return share
    return 1 if runs_on_this_gpu(settings) else 0


def _lone_threads(settings: Settings, threads: int, cores: int) -> int:
    """Return the threads of a batch that is alone in the engine; 0 where that is no more than any other has."""
    wanted = settings.lone_request_threads or cores
    return wanted if wanted > threads > 0 else 0


def _loaded_batch_size(settings: Settings) -> int:
    is_on_a_cpu = runs_on_this_cpu(settings) or settings.instance_kind == "KIND_CPU"
    return settings.max_batch_size or (_MOST_TUNED_ITEMS_ON_A_CPU if is_on_a_cpu else default_batch_size(settings))


def default_batch_size(settings: Settings) -> int:
    """Return the most items in a batch without a tuning."""
    return settings.max_batch_size or (_MOST_ITEMS_ON_THIS_GPU if runs_on_this_gpu(settings) else _MOST_ITEMS)


def choose_engine(settings: Settings, repository: Repository, policy: ExecutionPolicy) -> Engine:
    """Make the engine that the settings mean; it is not started yet."""
    name = engine_name(settings)
    if name == "triton":
        from ingrain.engine.triton.engine import TritonEngine

        assert settings.triton_grpc_url is not None
        return TritonEngine(
            settings.triton_grpc_url,
            backend=settings.triton_backend,
            instances=policy.instances,
            load_timeout_s=settings.load_timeout_s,
        )
    _check_gpu(settings)
    if name == "embedded":
        from ingrain.engine.embedded.engine import EmbeddedEngine

        instances = policy.instances * devices(settings)
        return EmbeddedEngine(repository.triton, instances=instances, load_timeout_s=settings.load_timeout_s)
    from ingrain.engine.onnxruntime import OnnxRuntimeEngine

    if settings.engine == "auto":
        log.warning("Graphs run in this process, for the embedded Triton cannot be used: %s", available())
    return OnnxRuntimeEngine(
        repository.triton,
        instances=policy.instances,
        threads=policy.threads,
        lone_threads=policy.lone_threads,
        on_gpu=runs_on_this_gpu(settings),
    )


def devices(settings: Settings) -> int:
    """Return on how many processors each copy of a graph is made: Triton makes the copies on each GPU."""
    return cuda.gpu_count() if engine_name(settings) == "embedded" and runs_on_this_gpu(settings) else 1


def _check_gpu(settings: Settings) -> None:
    """Refuse a GPU that is asked for and cannot be used, and say so of one that is not used.

    Raises:
        SettingsError: INSTANCE_KIND asks for it.
    """
    reason = cuda.why_unusable()
    if settings.instance_kind == "KIND_GPU" and reason is not None:
        raise SettingsError(
            f"INSTANCE_KIND is 'KIND_GPU', and graphs cannot run on a GPU: {reason}. With KIND_AUTO they run on the "
            "CPU where that is so.",
            param="INSTANCE_KIND",
        )
    if settings.instance_kind == "KIND_AUTO" and reason is not None and cuda.gpu_count():
        log.warning("There is a GPU here, but graphs run on the CPU: %s.", reason)
