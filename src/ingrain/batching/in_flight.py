"""Counts the batches in the engine: those of one graph over all processes, and those of all graphs."""

from __future__ import annotations

from typing import Protocol


class SharedInFlight(Protocol):
    """Counts the batches of one graph over all processes that send them."""

    def begin(self) -> None:
        """Record that this process has sent a batch."""

    def end(self) -> None:
        """Record that a batch of this process has come back."""

    def elsewhere(self) -> int:
        """Return the number of batches that the other processes have in the engine now."""
        ...


class EngineInFlight:
    """Counts the batches of all graphs in the engine.

    Args:
        shared: Counts them over all processes that use the same engine; None if this process is the only one.
    """

    def __init__(self, shared: SharedInFlight | None = None) -> None:
        self._count = 0
        self._shared = shared

    @property
    def is_idle(self) -> bool:
        """Whether no batch is in the engine, as far as this process can tell."""
        return not self._count and (self._shared is None or not self._shared.elsewhere())

    def begin(self) -> None:
        """Record that this process has sent a batch."""
        self._count += 1
        if self._shared is not None:
            self._shared.begin()

    def end(self) -> None:
        """Record that a batch of this process has come back."""
        self._count -= 1
        if self._shared is not None:
            self._shared.end()
