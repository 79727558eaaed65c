"""Chooses what a sweep tries: layouts that use the cores and fit the memory, and batch sizes."""

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

# Of a copy: its weights twice (ONNX Runtime keeps some packed anew, and needs both while it loads), and the process
# around them with what a batch works on.
_WEIGHTS_FACTOR = 2
_COPY_BYTES = 128 * 1024 * 1024
_MOST_SHARE_OF_MEMORY = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """What is tried beside the default, likelier ones first.

    Attributes:
        layouts: Copies and threads.
        tokens: Most tokens in a batch.
        items: Most items in a batch.
    """

    layouts: Sequence[Layout] = ()
    tokens: Sequence[int] = ()
    items: Sequence[int] = ()

    def __bool__(self) -> bool:
        return bool(self.layouts or self.tokens or self.items)


def layouts(cores: int, default: Layout, *, most_copies: int = _MOST_COPIES) -> list[Layout]:
    """Return the layouts that use the cores, without the default, those most like it first.

    Args:
        cores: That the engine may use.
        default: Without a tuning.
        most_copies: That fit the memory.
    """
    doublings = {2**power for power in range(cores.bit_length())}
    counts = doublings | {count for count in range(1, cores + 1) if cores % count == 0}
    found = [Layout(copies, cores // copies) for copies in counts if copies <= min(cores, most_copies, _MOST_COPIES)]
    used = [one for one in found if one.copies * one.threads >= _LEAST_SHARE_OF_CORES * cores and one != default]
    used.sort(key=lambda one: (abs(math.log2(one.copies / default.copies)), one.copies))
    return used[:_MOST_LAYOUTS]


def most_copies(graph: Graph, default: Layout, free_bytes: int | None, *, lone_threads: int = 0) -> int:
    """Return how many copies of a graph fit the memory, where the default's are loaded already.

    Args:
        graph: Whose weights each copy has for itself.
        default: What is loaded.
        free_bytes: Memory that is still free; None if unknown.
        lone_threads: Threads of a batch that is alone, for which each copy may have a second session.
    """
    if free_bytes is None:
        return default.copies
    sessions = 2 if lone_threads_of(graph, lone_threads, 1) else 1
    copy_bytes = _WEIGHTS_FACTOR * sessions * sum(file.size_bytes for file in graph.files) + _COPY_BYTES
    return default.copies + int(_MOST_SHARE_OF_MEMORY * free_bytes // copy_bytes)


def batch_tokens(default: int) -> list[int]:
    """Return the token limits of a batch to try beside the default."""
    return [int(default * factor) for factor in _TOKEN_FACTORS if default * factor >= 1]


def batch_items(graph: Graph, default: int, most: int) -> list[int]:
    """Return the item limits of a batch to try beside the default.

    Args:
        graph: Whose batches they are.
        default: Without a tuning.
        most: That the graph is loaded for.
    """
    return [size for size in ROLES[graph.role].tuned_batch_items if size <= most and size != default]
