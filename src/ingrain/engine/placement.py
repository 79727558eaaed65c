"""Decides where graphs run and how they are executed, with what the operator left open decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ingrain.cores import usable_cores
from ingrain.engine.table import EngineOptions, EngineSpec
from ingrain.errors import SettingsError
from ingrain.python_backend import cuda
from ingrain.repository.execution_policy import ExecutionPolicy, InstanceKind

_MOST_INSTANCES = 4
_BATCH_ITEMS = 32
# A GPU computes many short texts in the time of a few; and so many images still fit the memory of a small one.
_BATCH_ITEMS_ON_THIS_GPU = 64
# A graph refuses batches that are larger than it was loaded for. Room for what a tuning may choose costs nothing on a
# CPU; on a GPU warm-up and TensorRT take memory for the largest one, and a tuning chooses among smaller ones.
_LOADED_ITEMS_ON_A_CPU = 64
_BATCH_TOKENS = 4096
# What a batch of more tokens works on no longer fits the caches of a core: measured, 256 to 512 tokens are the fastest.
_BATCH_TOKENS_ON_A_CPU = 512
# So many items keep a core busy; further ones are worth it only where they need no padding.
_ENOUGH_ITEMS_ON_A_CPU = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where graphs run and how; decided once, when the server starts.

    Attributes:
        engine: Its name in the table of engines.
        description: What people call it.
        identity: Tells its tunings from those of others.
        address: ``host:port`` where it must listen; None for one that the server starts.
        on_this_machine: Whether cores, memory and GPUs of the engine are this machine's.
        on_this_gpu: Whether graphs run on a GPU of this machine.
        in_server_process: Whether graphs run inside the server's process.
        devices: On how many processors the engine makes each copy of a graph.
        gpu_problem: Why graphs cannot run on a GPU of this machine, None if they can.
        passed_over: Why ``auto`` took an engine inside the server's process, None if it did not.
        policy: How graphs are executed. Its ``max_batch_size`` is what graphs are loaded for.
        batch_items: Most items in a batch without a tuning.
        batch_tokens: Most tokens in a batch without a tuning.
        enough_items: Items of a batch that already use the engine well.
    """

    engine: str
    description: str
    identity: str
    address: str | None
    on_this_machine: bool
    on_this_gpu: bool
    in_server_process: bool
    devices: int
    gpu_problem: str | None
    passed_over: str | None
    policy: ExecutionPolicy
    batch_items: int
    batch_tokens: int
    enough_items: int

    @property
    def instance_kind(self) -> InstanceKind:
        """Where graphs run, in Triton's terms. ``KIND_AUTO`` is left of an engine elsewhere only, which decides."""
        return self.policy.instance_kind

    @property
    def on_this_cpu(self) -> bool:
        """Whether graphs run on this machine's CPU."""
        return self.on_this_machine and not self.on_this_gpu

    @property
    def on_a_gpu(self) -> bool:
        """Whether graphs run on a GPU for certain, here or elsewhere."""
        return self.on_this_gpu or (not self.on_this_machine and self.instance_kind == "KIND_GPU")


def choose_engine(engines: Mapping[str, EngineSpec], name: str, options: EngineOptions) -> tuple[str, str | None]:
    """Return the name of the engine to use, and why ``auto`` passed over the one before it, if it did.

    Args:
        engines: All engines, in the order in which ``auto`` looks at them.
        name: One of them, or ``auto``.
        options: What the operator has decided about engines.

    Raises:
        SettingsError: There is no such engine, or it cannot be used here.
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
            f"INGRAIN_ENGINE is {name!r}, which cannot be used: one of auto, {', '.join(engines)}.",
            param="INGRAIN_ENGINE",
        )
    if (reason := engines[name].why_unavailable(options)) is not None:
        raise SettingsError(f"INGRAIN_ENGINE is {name!r}, which cannot be used here: {reason}.", param="INGRAIN_ENGINE")
    return name, None


def place(
    engines: Mapping[str, EngineSpec], name: str, options: EngineOptions, given: ExecutionPolicy, *, batch_tokens: int
) -> Placement:
    """Decide where graphs run and how.

    Under load two copies of one thread each do half as much again as one copy of two threads (triton-notes.md), so an
    engine on this machine's CPU gets a copy for each core. On this machine's GPU a copy needs one thread, to feed it.
    What an engine elsewhere has is not known here: one copy, and ONNX Runtime's own choice of threads.

    Args:
        engines: All engines.
        name: One of them, or ``auto``.
        options: What the operator has decided about engines.
        given: What the operator has decided about execution; a 0 or ``KIND_AUTO`` in it is still to be decided.
        batch_tokens: Most tokens in a batch; 0 is to be decided.

    Raises:
        SettingsError: The engine cannot be used here, or not on a GPU that is asked for.
    """
    engine, passed_over = choose_engine(engines, name, options)
    spec = engines[engine]
    gpu_problem = spec.why_no_gpu()
    kind = given.instance_kind
    if kind == "KIND_AUTO" and spec.on_this_machine:
        kind = "KIND_CPU" if gpu_problem is not None else "KIND_GPU"
    on_this_gpu = spec.on_this_machine and gpu_problem is None and kind == "KIND_GPU"
    on_this_cpu = spec.on_this_machine and not on_this_gpu
    cores = usable_cores() if on_this_cpu else 1
    copies = given.instances or min(cores, _MOST_INSTANCES)
    # Elsewhere 0 leaves it to the engine.
    default_threads = max(1, cores // copies) if on_this_cpu else (1 if on_this_gpu else 0)
    threads = given.threads or default_threads
    lone_threads = given.lone_threads or cores
    items = given.max_batch_size or (_BATCH_ITEMS_ON_THIS_GPU if on_this_gpu else _BATCH_ITEMS)
    on_a_cpu = on_this_cpu or given.instance_kind == "KIND_CPU"
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
        address=spec.address(options),
        on_this_machine=spec.on_this_machine,
        on_this_gpu=on_this_gpu,
        in_server_process=spec.in_server_process,
        devices=cuda.gpu_count() if on_this_gpu and spec.copies_on_each_gpu else 1,
        gpu_problem=gpu_problem,
        passed_over=passed_over,
        policy=policy,
        batch_items=items,
        batch_tokens=batch_tokens or (_BATCH_TOKENS_ON_A_CPU if on_this_cpu else _BATCH_TOKENS),
        enough_items=_ENOUGH_ITEMS_ON_A_CPU if on_this_cpu else items,
    )
