"""Table of the engines: how to create each one, whether it is available, and where it runs graphs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ingrain.engine.tritons.addresses import Target, read_targets
from ingrain.python_backend import cuda
from ingrain.repository.execution_policy import Backend, ExecutionPolicy

if TYPE_CHECKING:
    from ingrain.engine.protocol import Engine


# Seconds after which one of several Tritons that does not answer at the start is not waited for.
_ONE_OF_SEVERAL_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Options of engines from the settings; ``ExecutionPolicy`` has those of execution.

    Attributes:
        graphs: Folder of the graphs, ``<repository>/triton``; graph ``NAME`` is ``NAME/1/model.onnx``.
        load_timeout_s: Seconds that a graph may take to load.
        triton_grpc_url: Address of a Triton that the server does not start, or those of several, separated by commas.
        triton_backend: Backend with which these Tritons run graphs.
        model_replicas: Number of these Tritons that load each model; 0 for all.
        metrics_port: Port of the loopback on which the embedded Triton has its metrics; 0 for none.
    """

    graphs: Path
    load_timeout_s: float = 600.0
    triton_grpc_url: str | None = None
    triton_backend: Backend = "onnxruntime"
    model_replicas: int = 0
    metrics_port: int = 0


MakeEngine = Callable[[EngineOptions, ExecutionPolicy, int], "Engine"]
"""Creates an engine without starting it. The number is how many GPUs of this machine to use; 0 for the CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """Describes one engine. ``make`` imports the engine's module.

    Attributes:
        make: Creates the engine.
        describe: Returns the engine's name for messages.
        why_unavailable: Returns why the engine cannot be used, None if it can.
        why_no_gpu: Returns why the engine cannot run graphs on a GPU of this machine, None if it can.
        identity: Returns the key under which tunings for this engine are stored; None: the engine's name.
        addresses: Returns ``host:port`` of each server of an engine that someone else runs; none if the server starts
            the engine.
        on_this_machine: Whether the engine uses the cores, memory and GPUs of this machine.
        in_server_process: Whether graphs run inside the server's process. Any other engine must be ``Shareable`` for
            the server to use more than one worker.
        copies_on_each_gpu: Whether each GPU gets all copies of a graph. False: only the first GPU does.
    """

    make: MakeEngine
    describe: Callable[[EngineOptions], str]
    why_unavailable: Callable[[EngineOptions], str | None] = lambda _: None
    why_no_gpu: Callable[[], str | None] = lambda: "this engine only supports CPUs"
    identity: Callable[[EngineOptions, ExecutionPolicy], str] | None = None
    addresses: Callable[[EngineOptions], tuple[str, ...]] = lambda _: ()
    on_this_machine: bool = True
    in_server_process: bool = False
    copies_on_each_gpu: bool = False


def _make_triton(options: EngineOptions, policy: ExecutionPolicy, gpus: int) -> Engine:
    from ingrain.engine.triton.engine import TritonEngine
    from ingrain.engine.tritons.addresses import Addresses
    from ingrain.engine.tritons.engine import TritonsEngine

    del gpus
    make = partial(
        TritonEngine,
        backend=options.triton_backend,
        instances=policy.instances,
        graphs=options.graphs,
        load_timeout_s=options.load_timeout_s,
    )
    targets = _triton_targets(options)
    if len(targets) == 1 and targets[0].host is None:
        return make(targets[0].text)
    return TritonsEngine(
        Addresses(targets),
        partial(make, start_timeout_s=_ONE_OF_SEVERAL_S, as_written=True),
        backend=options.triton_backend,
        instances=policy.instances,
        replicas=options.model_replicas,
    )


def _triton_targets(options: EngineOptions) -> tuple[Target, ...]:
    return read_targets(options.triton_grpc_url) if options.triton_grpc_url is not None else ()


def _describe_triton(options: EngineOptions) -> str:
    targets = [target.text for target in _triton_targets(options)]
    return f"the Triton{'s' * (len(targets) > 1)} at {', '.join(targets)}"


def _triton_identity(options: EngineOptions, policy: ExecutionPolicy) -> str:
    # Tunings are kept per address. The manifest is readable by users, so it holds a hash of the address.
    address = hashlib.sha256((options.triton_grpc_url or "").encode()).hexdigest()[:10]
    switches = {"tensorrt": policy.tensorrt, "fp16": policy.fp16}
    return "/".join(["triton", options.triton_backend, *(word for word, is_on in switches.items() if is_on), address])


def _make_embedded(options: EngineOptions, policy: ExecutionPolicy, gpus: int) -> Engine:
    from ingrain.engine.embedded.engine import EmbeddedEngine

    instances = policy.instances * max(1, gpus)
    return EmbeddedEngine(
        options.graphs,
        instances=instances,
        load_timeout_s=options.load_timeout_s,
        metrics_port=options.metrics_port,
    )


def _why_not_embedded(options: EngineOptions) -> str | None:
    from ingrain.engine.embedded.tritonserver import available

    del options
    return available()


def _make_onnxruntime(options: EngineOptions, policy: ExecutionPolicy, gpus: int) -> Engine:
    from ingrain.engine.onnxruntime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(
        options.graphs,
        instances=policy.instances,
        threads=policy.threads,
        lone_threads=policy.lone_threads,
        on_gpu=gpus > 0,
    )


ENGINES: dict[str, EngineSpec] = {
    "triton": EngineSpec(
        make=_make_triton,
        describe=_describe_triton,
        why_unavailable=lambda options: None if options.triton_grpc_url else "set TRITON_GRPC_URL to its gRPC address",
        why_no_gpu=lambda: "the server does not know whether that Triton has one",
        identity=_triton_identity,
        addresses=lambda options: tuple(target.text for target in _triton_targets(options)),
        on_this_machine=False,
    ),
    "embedded": EngineSpec(
        make=_make_embedded,
        describe=lambda _: "the embedded Triton",
        why_unavailable=_why_not_embedded,
        why_no_gpu=cuda.why_unusable,
        copies_on_each_gpu=True,
    ),
    "onnxruntime": EngineSpec(
        make=_make_onnxruntime,
        describe=lambda _: "ONNX Runtime in the server's process",
        why_no_gpu=cuda.why_unusable,
        in_server_process=True,
    ),
}
"""Engines by their name in INGRAIN_ENGINE; ``auto`` takes the first one that is available."""
