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
    """How graphs are executed, as written to ``config.pbtxt``.

    Attributes:
        max_batch_size: Largest batch of one call; Triton refuses larger ones.
        dynamic_batching: Let Triton merge calls of equal shape.
        instance_kind: Device of the instances. ``KIND_AUTO`` is the GPU if Triton finds one.
        instances: Batches of the graph that run at the same time; with several GPUs, on each GPU. On the CPU of the
            embedded engines those with one thread share one copy of the weights; otherwise each has its own.
        threads: Intra-op threads of one batch.
        lone_threads: Threads for a batch that runs alone. 0: as many as any other batch gets.
        tensorrt: Run supported parts of the graph on TensorRT (GPU and native backend only).
        fp16: Let TensorRT compute in half precision.
        tensorrt_cache_dir: Folder in which Triton stores built engines; a volume there saves minutes at a restart.
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
    """Return the threads for a graph's batches that run alone; 0: as many as any other batch gets.

    0 if any batch has as many threads anyway, and for a large graph, whose weights would take memory twice.

    Args:
        graph: The graph.
        lone_threads: The policy's value.
        threads: Threads of any other batch.
    """
    is_small = sum(file.size_bytes for file in graph.files) <= _LARGEST_LONE_BYTES
    return lone_threads if is_small and lone_threads > threads else 0
