"""Estimates the memory of a graph that was not loaded yet, from its files and the way in which it will be run."""

from __future__ import annotations

from ingrain.engine.placement import Placement
from ingrain.repository.execution_policy import lone_threads_of
from ingrain.repository.manifest import Graph
from ingrain.repository.tuning import Layout

# Resident memory of a stub of Triton's Python backend besides the weights: with two sessions of all-MiniLM-L6-v2 (87
# MiB) a stub took 252 MiB, of which 41 MiB are program files.
_STUB_BYTES = 80 * 1024**2
# What the C library keeps of the values of batches: 16 MiB for each of two heaps (``python_backend/sessions.py``).
_VALUES_BYTES = 32 * 1024**2
# An instance of Triton's own onnxruntime backend holds its weights 1.7 times (155 MB for 90 MB).
_INSTANCE_FACTOR = 1.75


def estimated_bytes(graph: Graph, layout: Layout, placement: Placement) -> int:
    """Return an estimate of the memory of a graph, in bytes.

    Args:
        graph: The graph.
        layout: Its copies and threads.
        placement: Where graphs run.
    """
    weights = sum(file.size_bytes for file in graph.files)
    if not placement.on_this_cpu:
        return round(weights * layout.copies * _INSTANCE_FACTOR) + _VALUES_BYTES
    copies = 1 if layout.threads == 1 else layout.copies
    has_lone = lone_threads_of(graph, placement.policy.lone_threads, layout.threads) > 0
    own = 0 if placement.in_server_process else _STUB_BYTES
    return weights * (copies + has_lone) + own + _VALUES_BYTES
