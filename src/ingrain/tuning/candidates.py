"""Chooses the candidates of a sweep: layouts that use the cores and fit in memory, and batch sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ingrain.repository.execution_policy import lone_threads_of
from ingrain.repository.manifest import Graph
from ingrain.repository.tuning import Layout
from ingrain.roles import ROLES

_MOST_COPIES = 16
_MOST_LAYOUTS = 4
_LEAST_SHARE_OF_CORES = 0.75
_TOKEN_FACTORS = (2.0, 0.5, 4.0)

# Memory of a copy: its weights twice, since ONNX Runtime repacks some of them and holds both forms while it loads;
# and a constant for the process and the activations of a batch.
_WEIGHTS_FACTOR = 2
_COPY_BYTES = 128 * 1024 * 1024
_MOST_SHARE_OF_MEMORY = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Values to measure besides the default, the most promising first.

    Attributes:
        layouts: Numbers of copies and threads.
        tokens: Maximum tokens in a batch.
        items: Maximum items in a batch.
    """

    layouts: Sequence[Layout] = ()
    tokens: Sequence[int] = ()
    items: Sequence[int] = ()

    def __bool__(self) -> bool:
        return bool(self.layouts or self.tokens or self.items)


def layouts(cores: int, default: Layout, *, most_copies: int = _MOST_COPIES) -> list[Layout]:
    """Return the layouts that use most of the cores, without the default, those closest to the default first.

    Args:
        cores: Number of cores that the engine may use.
        default: Layout without a tuning.
        most_copies: Number of copies that fit in memory.
    """
    doublings = {2**power for power in range(cores.bit_length())}
    counts = doublings | {count for count in range(1, cores + 1) if cores % count == 0}
    found = [Layout(copies, cores // copies) for copies in counts if copies <= min(cores, most_copies, _MOST_COPIES)]
    used = [one for one in found if one.copies * one.threads >= _LEAST_SHARE_OF_CORES * cores and one != default]
    used.sort(key=lambda one: (abs(math.log2(one.copies / default.copies)), one.copies))
    return used[:_MOST_LAYOUTS]


def most_copies(graph: Graph, default: Layout, free_bytes: int | None, *, lone_threads: int = 0) -> int:
    """Return how many copies of a graph fit in memory, given that the default layout is loaded.

    Args:
        graph: The graph; each copy holds all its weights.
        default: Layout that is loaded.
        free_bytes: Free memory; None if unknown.
        lone_threads: Threads of a batch that is alone in the engine; each copy may have a second session for it.
    """
    if free_bytes is None:
        return default.copies
    sessions = 2 if lone_threads_of(graph, lone_threads, 1) else 1
    copy_bytes = _WEIGHTS_FACTOR * sessions * sum(file.size_bytes for file in graph.files) + _COPY_BYTES
    return default.copies + int(_MOST_SHARE_OF_MEMORY * free_bytes // copy_bytes)


def batch_tokens(default: int) -> list[int]:
    """Return the token limits of a batch to try besides the default."""
    return [int(default * factor) for factor in _TOKEN_FACTORS if default * factor >= 1]


def batch_items(graph: Graph, default: int, most: int) -> list[int]:
    """Return the item limits of a batch to try besides the default.

    Args:
        graph: The graph.
        default: Limit without a tuning.
        most: Maximum batch size for which the graph is loaded.
    """
    return [size for size in ROLES[graph.role].tuned_batch_items if size <= most and size != default]
