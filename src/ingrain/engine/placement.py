"""Chooses the engine, the device and the execution policy for graphs; fills in what the settings leave open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ingrain.cores import usable_cores
from ingrain.engine.table import EngineOptions, EngineSpec
from ingrain.errors import SettingsError
from ingrain.python_backend import cuda
from ingrain.repository.execution_policy import ExecutionPolicy, InstanceKind

_MOST_REMOTE_INSTANCES = 4
_BATCH_ITEMS = 32
# A GPU computes many short texts in the time of a few. A batch of 64 images still fits the memory of a small GPU.
_BATCH_ITEMS_ON_THIS_GPU = 64
# Triton rejects batches that are larger than the graph's configured maximum. On a CPU a higher maximum costs nothing
# and lets a tuning choose larger batches. On a GPU warm-up and TensorRT allocate memory for the largest batch.
_LOADED_ITEMS_ON_A_CPU = 64
_BATCH_TOKENS = 4096
# The activations of a larger batch no longer fit the caches of a core: measured, 256 to 512 tokens are the fastest.
_BATCH_TOKENS_ON_A_CPU = 512
# As in `BatchLimits`. Measured with all-MiniLM-L6-v2: reading the weights takes as long as 7 tokens if the cores share
# one copy of them, and 16 if each has its own. A GPU computes hundreds of tokens in the time of one.
_OVERHEAD_TOKENS_ON_A_CPU = 8
_OVERHEAD_TOKENS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where and how graphs run; decided once, when the server starts.

    Attributes:
        engine: The engine's name in the table of engines.
        description: The engine's name in messages.
        identity: Key under which tunings for this engine are stored.
        addresses: ``host:port`` of each server of an engine that someone else runs; none if the server starts it.
        on_this_machine: Whether the engine uses the cores, memory and GPUs of this machine.
        on_this_gpu: Whether graphs run on a GPU of this machine.
        in_server_process: Whether graphs run inside the server's process.
        devices: Number of processors on which the engine creates each copy of a graph.
        gpu_problem: Why graphs cannot run on a GPU of this machine, None if they can.
        passed_over: Why ``auto`` fell back to an engine inside the server's process; None if it did not.
        policy: How graphs are executed. Graphs are loaded for batches of up to its ``max_batch_size``.
        batch_items: Maximum items in a batch if there is no tuning.
        batch_tokens: Maximum tokens in a batch if there is no tuning.
        overhead_tokens: As in ``BatchLimits``, if there is no tuning.
    """

    engine: str
    description: str
    identity: str
    addresses: tuple[str, ...]
    on_this_machine: bool
    on_this_gpu: bool
    in_server_process: bool
    devices: int
    gpu_problem: str | None
    passed_over: str | None
    policy: ExecutionPolicy
    batch_items: int
    batch_tokens: int
    overhead_tokens: int

    @property
    def instance_kind(self) -> InstanceKind:
        """Device on which graphs run, in Triton's terms; ``KIND_AUTO`` only for a remote engine, which chooses."""
        return self.policy.instance_kind

    @property
    def on_this_cpu(self) -> bool:
        """Whether graphs run on this machine's CPU."""
        return self.on_this_machine and not self.on_this_gpu

    @property
    def on_a_cpu(self) -> bool:
        """Whether graphs are known to run on a CPU, of this machine or of a remote engine."""
        return self.on_this_cpu or self.instance_kind == "KIND_CPU"

    @property
    def on_a_gpu(self) -> bool:
        """Whether graphs are known to run on a GPU, of this machine or of a remote engine."""
        return self.on_this_gpu or (not self.on_this_machine and self.instance_kind == "KIND_GPU")


def choose_engine(engines: Mapping[str, EngineSpec], name: str, options: EngineOptions) -> tuple[str, str | None]:
    """Return the name of the engine to use, and why ``auto`` passed over the one before it, if it did.

    Args:
        engines: All engines, in the order in which ``auto`` looks at them.
        name: Name of an engine, or ``auto``.
        options: Options from the settings.

    Raises:
        SettingsError: The engine is unknown or unavailable.
    """
    if name == "auto":
        passed_over = None
        for one, spec in engines.items():
            reason = spec.why_unavailable(options)
            if reason is None:
                return one, passed_over if spec.in_server_process else None
            passed_over = f"{spec.describe(options)} cannot be used: {reason}"
        raise SettingsError("INGRAIN_ENGINE is 'auto', and no engine can be used here.", param="INGRAIN_ENGINE")
    if name not in engines:
        raise SettingsError(
            f"INGRAIN_ENGINE is {name!r}; it must be one of auto, {', '.join(engines)}.",
            param="INGRAIN_ENGINE",
        )
    if (reason := engines[name].why_unavailable(options)) is not None:
        raise SettingsError(f"INGRAIN_ENGINE is {name!r}, which cannot be used here: {reason}.", param="INGRAIN_ENGINE")
    return name, None


def place(
    engines: Mapping[str, EngineSpec], name: str, options: EngineOptions, given: ExecutionPolicy, *, batch_tokens: int
) -> Placement:
    """Decide where graphs run and how.

    Under load two batches with one thread each have 1.5 times the throughput of one with two threads (triton-notes.md),
    so an engine on this machine's CPU runs one batch per core. On this machine's GPU a copy needs one
    thread, which feeds the GPU. The hardware of a remote engine is unknown: it gets one copy, and ONNX Runtime chooses
    the number of threads. Only if the settings say that it has no GPU, it gets what this machine's CPU would: it is
    often the same machine, and a copy with as many threads as ONNX Runtime chooses took up to twice the time there.

    Args:
        engines: All engines.
        name: Name of an engine, or ``auto``.
        options: Options from the settings.
        given: Execution policy from the settings; ``place`` replaces each 0 and ``KIND_AUTO``.
        batch_tokens: Maximum tokens in a batch; 0 to choose a default.

    Raises:
        SettingsError: The engine is unknown or unavailable.
    """
    engine, passed_over = choose_engine(engines, name, options)
    spec = engines[engine]
    gpu_problem = spec.why_no_gpu()
    kind = given.instance_kind
    if kind == "KIND_AUTO" and spec.on_this_machine:
        kind = "KIND_CPU" if gpu_problem is not None else "KIND_GPU"
    on_this_gpu = spec.on_this_machine and gpu_problem is None and kind == "KIND_GPU"
    on_this_cpu = spec.on_this_machine and not on_this_gpu
    on_a_cpu = on_this_cpu or given.instance_kind == "KIND_CPU"
    cores = usable_cores() if on_a_cpu else 1
    default_copies = max(1, cores // max(1, given.threads))
    # Each copy in a remote Triton has its own weights.
    copies = given.instances or (default_copies if on_this_cpu else min(default_copies, _MOST_REMOTE_INSTANCES))
    # For a remote engine 0 means that ONNX Runtime chooses.
    default_threads = max(1, cores // copies) if on_a_cpu else (1 if on_this_gpu else 0)
    threads = given.threads or default_threads
    lone_threads = given.lone_threads or cores
    items = given.max_batch_size or (_BATCH_ITEMS_ON_THIS_GPU if on_this_gpu else _BATCH_ITEMS)
    policy = replace(
        given,
        instance_kind=kind,
        instances=copies,
        threads=threads,
        lone_threads=lone_threads if lone_threads > threads > 0 else 0,
        max_batch_size=given.max_batch_size or (_LOADED_ITEMS_ON_A_CPU if on_a_cpu else items),
    )
    return Placement(
        engine=engine,
        description=spec.describe(options),
        identity=spec.identity(options, policy) if spec.identity is not None else engine,
        addresses=spec.addresses(options),
        on_this_machine=spec.on_this_machine,
        on_this_gpu=on_this_gpu,
        in_server_process=spec.in_server_process,
        devices=cuda.gpu_count() if on_this_gpu and spec.copies_on_each_gpu else 1,
        gpu_problem=gpu_problem,
        passed_over=passed_over,
        policy=policy,
        batch_items=items,
        batch_tokens=batch_tokens or (_BATCH_TOKENS_ON_A_CPU if on_this_cpu else _BATCH_TOKENS),
        overhead_tokens=_OVERHEAD_TOKENS_ON_A_CPU if on_a_cpu else _OVERHEAD_TOKENS,
    )
