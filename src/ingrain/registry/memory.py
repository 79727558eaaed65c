"""How much memory each model needs: as measured in the engine, else as estimated from its files."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ingrain.engine.protocol import Engine, Weighed
from ingrain.registry.slots import Slot
from ingrain.repository.manifest import Graph, Manifest
from ingrain.repository.models_to_load import ModelRef
from ingrain.repository.tuning import Execution, Layout
from ingrain.vocabulary import Precision, Role

Estimate = Callable[[Graph, Layout], int]
"""Returns the memory that a graph will take in a layout, in bytes."""

_Measured = tuple[Precision, tuple[tuple[Graph, Layout], ...]]

_SHOWN_TO = 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPolicy:
    """Which models may be loaded at the same time, and when one is unloaded; see docs/memory.md.

    Attributes:
        budget_bytes: Memory for all models together; None for no limit.
        evicts: Whether a model that is not in use is unloaded to make room for another one.
        keep_alive_s: Seconds after which a model that was not used is unloaded; infinity for never.
        on_demand: Whether a request loads a model of the repository.
        pinned: Names of models that are never unloaded but by command.
        estimate: Estimates the memory of a graph that was not loaded yet.
    """

    budget_bytes: int | None = None
    evicts: bool = True
    keep_alive_s: float = math.inf
    on_demand: bool = False
    pinned: frozenset[str] = frozenset()
    estimate: Estimate = lambda graph, _: sum(file.size_bytes for file in graph.files)

    @property
    def moves_models(self) -> bool:
        """Whether models may come and go without a command."""
        return self.budget_bytes is not None or self.on_demand or self.keep_alive_s < math.inf

    def keeps(self, slot: Slot) -> bool:
        """Return whether a model is never unloaded but by command."""
        return self.pins(slot.ref)

    def pins(self, ref: ModelRef) -> bool:
        """Return whether a reference names a model that is never unloaded but by command."""
        return ref.pin if ref.pin is not None else ref.name in self.pinned

    def keep_alive_of(self, slot: Slot) -> float:
        """Return the seconds after which a model that was not used is unloaded."""
        given = slot.keep_alive_s if slot.keep_alive_s is not None else slot.ref.keep_alive_s
        if given is None:
            return self.keep_alive_s
        return given if given >= 0 else math.inf


class ModelMemory:
    """Remembers the most memory that each model has taken, and measures it while it is loaded.

    Args:
        engine: Measures graphs, if it can.
        estimate: Estimates the memory of a graph that was not loaded yet.
    """

    def __init__(self, engine: Engine, estimate: Estimate) -> None:
        self._measure = engine.memory_bytes if isinstance(engine, Weighed) else lambda _: None
        self._estimate = estimate
        # With what was measured: a model that is converted anew, or runs in another layout, takes other memory.
        self._most: dict[str, tuple[_Measured, int]] = {}

    def needed(self, key: str, manifest: Manifest, executions: Mapping[Role, Execution]) -> int:
        """Return the bytes to reserve for a model: the estimate, or more if it has taken more."""
        estimates = [self._estimate(graph, executions[graph.role].layout) for graph in manifest.graphs]
        return max(sum(estimates), self._most_of(key, _measured(manifest, executions)))

    def reserved(self, slot: Slot) -> int:
        """Return the bytes that are reserved for a loaded model."""
        assert slot.model is not None
        return self.needed(slot.key, slot.model.manifest, slot.executions)

    def observe(self, slot: Slot) -> None:
        """Measure a loaded model, or estimate it if its engine cannot."""
        if slot.model is None or not slot.executions:
            return
        measured = [self._measure(graph.name) for graph in slot.model.manifest.graphs]
        taken = sum(one or 0 for one in measured)
        if None in measured:
            taken = self.reserved(slot)
        else:
            measured_as = _measured(slot.model.manifest, slot.executions)
            self._most[slot.key] = measured_as, max(taken, self._most_of(slot.key, measured_as))
        slot.memory_bytes = taken // _SHOWN_TO * _SHOWN_TO if taken >= _SHOWN_TO else taken

    def _most_of(self, key: str, measured_as: _Measured) -> int:
        known, most = self._most.get(key, (None, 0))
        return most if known == measured_as else 0


def _measured(manifest: Manifest, executions: Mapping[Role, Execution]) -> _Measured:
    return manifest.precision, tuple((graph, executions[graph.role].layout) for graph in manifest.graphs)
