"""Chooses the candidates of a sweep: layouts that use the cores and fit in memory, and batch sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ingrain.repository.manifest import Graph
from ingrain.repository.tuning import Layout
from ingrain.roles import ROLES

_MOST_COPIES = 16
_MOST_LAYOUTS = 4
_LEAST_SHARE_OF_CORES = 0.75
_TOKEN_FACTORS = (2.0, 0.5, 4.0)

# Memory of a copy with several threads: its weights twice, since ONNX Runtime repacks some of them and holds both forms
# while it loads; and a constant for the activations of a batch.
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

    Copies with one thread share their weights, so that any number fits.

    Args:
        cores: Number of cores that the engine may use.
        default: Layout without a tuning.
        most_copies: Number of copies with weights of their own that fit in memory.
    """
    doublings = {2**power for power in range(cores.bit_length())}
    counts = doublings | {count for count in range(1, cores + 1) if cores % count == 0}
    found = [Layout(copies, cores // copies) for copies in counts if copies <= cores]
    found = [one for one in found if one.threads == 1 or one.copies <= min(most_copies, _MOST_COPIES)]
    used = [one for one in found if one.copies * one.threads >= _LEAST_SHARE_OF_CORES * cores and one != default]
    used.sort(key=lambda one: (abs(math.log2(one.copies / default.copies)), one.copies))
    return used[:_MOST_LAYOUTS]


def most_copies(graph: Graph, default: Layout, free_bytes: int | None) -> int:
    """Return how many copies of a graph with weights of their own fit in memory, given that the default is loaded.

    Args:
        graph: The graph.
        default: Layout that is loaded.
        free_bytes: Free memory; None if unknown.
    """
    loaded = 1 if default.threads == 1 else default.copies
    if free_bytes is None:
        return loaded
    copy_bytes = _WEIGHTS_FACTOR * sum(file.size_bytes for file in graph.files) + _COPY_BYTES
    return loaded + int(_MOST_SHARE_OF_MEMORY * free_bytes // copy_bytes)


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
