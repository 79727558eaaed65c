"""Finds the stored tuning for this machine, the executions that it gives, and the candidates of a new one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from ingrain.repository.manifest import Graph, Manifest
from ingrain.repository.tuning import Execution, Layout, Machine, Tuning
from ingrain.roles import ROLES
from ingrain.tuning.candidates import Candidates, batch_items, batch_tokens, layouts, most_copies
from ingrain.vocabulary import Role

LAYOUT_SETTINGS = ("MODEL_INSTANCES", "INGRAIN_THREADS_PER_INSTANCE")
ITEMS_SETTING = "MAX_BATCH_SIZE"
TOKENS_SETTING = "INGRAIN_MAX_BATCH_TOKENS"

_MOST_KEPT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningMachine:
    """The machine, the defaults and the settings on which tunings depend.

    Attributes:
        machine: This machine; a tuning only applies to the machine on which it was measured.
        default: Execution of a graph of token sequences without a tuning, with the settings applied.
        given: Values that the operator has set, by environment variable; they override every tuning.
        most_items: Maximum batch size for which graphs are loaded.
        sweeps_layouts: Whether to try layouts: the engine runs on this machine's CPU.
        free_bytes: Returns the free memory; reads files.
        lone_threads: As in ``ExecutionPolicy``.
        devices: Number of processors on which the engine creates each copy of a graph.
    """

    machine: Machine
    default: Execution
    given: Mapping[str, int]
    most_items: int
    sweeps_layouts: bool
    free_bytes: Callable[[], int | None]
    lone_threads: int = 0
    devices: int = 1

    def default_of(self, graph: Graph) -> Execution:
        """Return the execution of a graph without a tuning."""
        if ROLES[graph.role].takes_token_sequences:
            return self.default
        return msgspec.structs.replace(self.default, max_tokens=0, overhead_tokens=0)

    def executions(self, manifest: Manifest) -> dict[Role, Execution]:
        """Return the execution of each graph of a model: the tuned one, overridden by the settings."""
        tuning = self.fitting(manifest)
        chosen = {found.role: found.chosen for found in tuning.graphs} if tuning is not None else {}
        return {graph.role: self._merged(graph, chosen.get(graph.role)) for graph in manifest.graphs}

    def _merged(self, graph: Graph, chosen: Execution | None) -> Execution:
        default = self.default_of(graph)
        if chosen is None:
            return default
        return Execution(
            layout=default.layout if self._gives_layout() else chosen.layout,
            max_items=default.max_items if ITEMS_SETTING in self.given else min(chosen.max_items, self.most_items),
            max_tokens=default.max_tokens if TOKENS_SETTING in self.given else chosen.max_tokens,
            overhead_tokens=chosen.overhead_tokens or default.overhead_tokens,
        )

    def fitting(self, manifest: Manifest) -> Tuning | None:
        """Return the latest tuning of exactly these graphs, on this machine, with the current settings."""
        digest = graphs_digest(manifest)
        for tuning in reversed(manifest.tunings):
            still_holds = all(self.given.get(name) == value for name, value in tuning.given.items())
            if tuning.graphs_sha256 == digest and tuning.machine == self.machine and still_holds:
                return tuning
        return None

    def candidates(self, graph: Graph) -> Candidates:
        """Return the candidates for a graph, except for values that the operator has set. Reads files."""
        default = self.default_of(graph)
        tried: list[Layout] = []
        if self.sweeps_layouts and not self._gives_layout():
            most = most_copies(graph, default.layout, self.free_bytes())
            tried = layouts(self.machine.cores, default.layout, most_copies=most)
        return Candidates(
            layouts=tried,
            tokens=batch_tokens(default.max_tokens) if TOKENS_SETTING not in self.given else (),
            items=batch_items(graph, default.max_items, self.most_items) if ITEMS_SETTING not in self.given else (),
        )

    def with_tuning(self, tunings: tuple[Tuning, ...], new: Tuning) -> tuple[Tuning, ...]:
        """Add a tuning, replacing the one of the same machine and settings; drop the oldest if there are too many."""
        others = [one for one in tunings if (one.machine, one.given) != (new.machine, new.given)]
        return (*others, new)[-_MOST_KEPT:]

    def without_tunings(self, tunings: tuple[Tuning, ...]) -> tuple[Tuning, ...]:
        """Return the tunings of other machines."""
        return tuple(one for one in tunings if one.machine != self.machine)

    def _gives_layout(self) -> bool:
        # Copies and threads are tuned together: if the operator sets one of them, the layout is fixed.
        return any(name in self.given for name in LAYOUT_SETTINGS)


def graphs_digest(manifest: Manifest) -> str:
    """Return a checksum of all files of all graphs."""
    lines = [f"{graph.role} {file.path} {file.sha256}" for graph in manifest.graphs for file in graph.files]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
