"""The graphs that several Tritons should have, and which of them each graph is for."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import lru_cache

from ingrain.engine.protocol import Hold
from ingrain.engine.tritons.server import Server
from ingrain.repository.manifest import Graph
from ingrain.repository.names import key_of_graph
from ingrain.repository.tuning import Layout


@dataclass(frozen=True, slots=True)
class Wish:
    """A graph that should be loaded, and its layout as in ``Engine.load``."""

    graph: Graph
    layout: Layout | None


@dataclass(slots=True)
class Wishes:
    """The graphs that should be loaded.

    Attributes:
        replicas: Number of Tritons that get each model; 0 for all.
        hold: Holds the lock of a model.
        graphs: The wishes by the graph's name.
    """

    replicas: int = 0
    hold: Hold = lambda _: nullcontext()
    graphs: dict[str, Wish] = field(default_factory=dict)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    def lock(self, name: str) -> asyncio.Lock:
        """Return the lock of a graph within this process; it is taken after the model's lock."""
        return self._locks.setdefault(name, asyncio.Lock())

    def placed(self, name: str, servers: Sequence[Server]) -> list[Server]:
        """Return the Tritons that should have a graph, among those that respond.

        All front ends come to the same answer without asking each other, and little changes when a Triton comes or
        goes: each model has an order of its own of all Tritons (rendezvous hashing: Thaler and Ravishankar 1998), and
        the first ones that respond get it. All graphs of a model are placed together.
        """
        open_ones = [server for server in servers if server.is_open]
        found = [server for server in open_ones if not server.is_leaving] or open_ones
        if not 0 < self.replicas < len(found):
            return found
        key = key_of_graph(name) or name
        return sorted(found, key=lambda server: _rank(key, server.address))[: self.replicas]


@lru_cache(maxsize=4096)
def _rank(key: str, address: str) -> bytes:
    return hashlib.sha256(f"{key} {address}".encode()).digest()
