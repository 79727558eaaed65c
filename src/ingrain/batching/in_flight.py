"""Batches of one graph that several processes have in one engine at the same time."""

from __future__ import annotations

from typing import Protocol


class SharedInFlight(Protocol):
    """Counts the batches of one graph over all processes that send them."""

    def begin(self) -> None:
        """Take note that this process has sent a batch."""

    def end(self) -> None:
        """Take note that a batch of this process has come back."""

    def elsewhere(self) -> int:
        """Return how many batches of the other processes are in the engine now."""
        ...
