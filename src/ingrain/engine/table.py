"""The engines that can run graphs: how each is made, why it cannot be used here, and where it runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ingrain.python_backend import cuda
from ingrain.repository.execution_policy import Backend, ExecutionPolicy

if TYPE_CHECKING:
    from ingrain.engine.protocol import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """What the operator has decided about engines, beside how graphs are executed.

    Attributes:
        graphs: Folder of the graphs, ``<repository>/triton``; graph ``NAME`` is ``NAME/1/model.onnx``.
        load_timeout_s: Seconds that a graph may take to load.
        triton_grpc_url: Address of a Triton that somebody else runs.
        triton_backend: The backend that it runs graphs with.
    """

    graphs: Path
    load_timeout_s: float = 600.0
    triton_grpc_url: str | None = None
    triton_backend: Backend = "onnxruntime"


MakeEngine = Callable[[EngineOptions, ExecutionPolicy, int], "Engine"]
"""Makes an engine that is not started yet. The number is that of this machine's GPUs to run on, 0 for its CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """One engine. Its module is imported when the engine is made.

    Attributes:
        make: Makes it.
        describe: Names it for people.
        why_unavailable: Tells why it cannot be used, None if it can.
        why_no_gpu: Tells why it cannot run graphs on a GPU of this machine, None if it can.
        identity: Tells its tunings from those of others; None: its name does.
        address: ``host:port`` where it must listen, None for one that the server starts.
        on_this_machine: False where cores, memory and GPUs of the engine are not this machine's.
        in_server_process: True where it runs graphs inside the server's process, so that no other can share it. Any
            other engine is ``Shareable``.
        copies_on_each_gpu: True where it makes the copies of a graph on each GPU; else on the first one.
    """

    make: MakeEngine
    describe: Callable[[EngineOptions], str]
    why_unavailable: Callable[[EngineOptions], str | None] = lambda _: None
    why_no_gpu: Callable[[], str | None] = lambda: "this engine runs graphs on CPUs alone"
    identity: Callable[[EngineOptions, ExecutionPolicy], str] | None = None
    address: Callable[[EngineOptions], str | None] = lambda _: None
    on_this_machine: bool = True
    in_server_process: bool = False
    copies_on_each_gpu: bool = False


def _make_triton(options: EngineOptions, policy: ExecutionPolicy, gpus: int) -> Engine:
    from ingrain.engine.triton.engine import TritonEngine

    del gpus
    assert options.triton_grpc_url is not None
    return TritonEngine(
        options.triton_grpc_url,
        backend=options.triton_backend,
        instances=policy.instances,
        load_timeout_s=options.load_timeout_s,
    )


def _triton_identity(options: EngineOptions, policy: ExecutionPolicy) -> str:
    # The address alone tells one Triton from others; it is nobody's business who reads the manifest.
    address = hashlib.sha256((options.triton_grpc_url or "").encode()).hexdigest()[:10]
    switches = {"tensorrt": policy.tensorrt, "fp16": policy.fp16}
    return "/".join(["triton", options.triton_backend, *(word for word, is_on in switches.items() if is_on), address])


def _make_embedded(options: EngineOptions, policy: ExecutionPolicy, gpus: int) -> Engine:
    from ingrain.engine.embedded.engine import EmbeddedEngine

    instances = policy.instances * max(1, gpus)
    return EmbeddedEngine(options.graphs, instances=instances, load_timeout_s=options.load_timeout_s)


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
        describe=lambda options: f"the Triton at {options.triton_grpc_url}",
        why_unavailable=lambda options: None if options.triton_grpc_url else "set TRITON_GRPC_URL to its gRPC address",
        why_no_gpu=lambda: "whether it has one is not known here",
        identity=_triton_identity,
        address=lambda options: options.triton_grpc_url,
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
"""By the name that INGRAIN_ENGINE has for it; ``auto`` is the first that can be used."""
