"""The execution policy of graphs: batch size, copies, threads, device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ingrain.repository.manifest import Graph

Backend = Literal["onnxruntime", "python"]
"""Triton's native ONNX Runtime backend (containers), or the Python backend with our model (the embedded Triton)."""

InstanceKind = Literal["KIND_AUTO", "KIND_CPU", "KIND_GPU", "KIND_MODEL"]


_LARGEST_LONE_BYTES = 256 * 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionPolicy:
    """How graphs are executed; it goes into ``config.pbtxt``.

    Attributes:
        max_batch_size: Largest batch that one call may hold; a larger one is an error in Triton.
        dynamic_batching: Let Triton merge calls of equal shape.
        instance_kind: Where instances run. ``KIND_AUTO`` is the GPU where Triton sees one.
        instances: Copies of the graph, each with its own weights; where there are several GPUs, on each of them.
        threads: Intra-op threads of one instance.
        lone_threads: Intra-op threads of a batch that is alone in the engine; 0 for those of any other batch.
        tensorrt: Run what TensorRT can run on it (GPU and native backend only).
        fp16: Let TensorRT compute in half precision.
        tensorrt_cache_dir: Where Triton, not we, keeps built engines; a volume there saves minutes at a restart.
    """

    max_batch_size: int = 64
    dynamic_batching: bool = True
    instance_kind: InstanceKind = "KIND_AUTO"
    instances: int = 1
    threads: int = 1
    lone_threads: int = 0
    tensorrt: bool = False
    fp16: bool = False
    tensorrt_cache_dir: str = "/var/cache/ingrain-tensorrt"


def lone_threads_of(graph: Graph, lone_threads: int, threads: int) -> int:
    """Return the threads of a graph's lone batches; 0 where they have those of any other.

    So it is where a copy has as many anyway, and for a large graph, whose weights nobody wants to hold twice.

    Args:
        graph: The graph.
        lone_threads: What the policy says of lone batches.
        threads: Threads of one copy.
    """
    is_small = sum(file.size_bytes for file in graph.files) <= _LARGEST_LONE_BYTES
    return lone_threads if is_small and lone_threads > threads else 0
