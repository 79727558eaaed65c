"""Makes the batches of a graph smaller after one has failed for lack of memory."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from ingrain.batching.queue import BatchLimits, BatchQueue

# After so long without a failure, batches may be twice as large again: another program may have had the memory.
_RAISE_AFTER_S = 600.0

log = logging.getLogger("ingrain.server")


class MemoryBudget:
    """Halves a queue's limit of tokens when a batch fails for lack of memory, and doubles it again later.

    Args:
        queue: The queue.
        name: Name of the graph, for the log.
    """

    def __init__(self, queue: BatchQueue[Any], name: str) -> None:
        self._queue = queue
        self._name = name
        self._full = queue.limits
        self._changed_at = float("inf")

    def reset(self, limits: BatchLimits) -> None:
        """Set other limits, for a graph that was loaded again or tuned."""
        self._queue.limits = self._full = limits
        self._changed_at = float("inf")

    def lower(self, tokens: float, now: float) -> None:
        """Allow half the tokens of a batch that has failed.

        Args:
            tokens: The batch's cost, as in ``BatchLimits``.
            now: Monotonic seconds.
        """
        self._changed_at = now
        most = max(1, int(tokens) // 2)
        if most < self._queue.limits.max_tokens:
            self._limit(most)
            log.warning(
                "A batch of %d tokens of graph %s failed for lack of memory; its batches have at most %d tokens now",
                tokens,
                self._name,
                most,
            )

    def raise_if_due(self, now: float) -> None:
        """Allow twice the tokens, up to the full limit, if no batch has failed for ten minutes."""
        if now < self._changed_at + _RAISE_AFTER_S:
            return
        most = min(self._full.max_tokens, 2 * self._queue.limits.max_tokens)
        self._changed_at = now if most < self._full.max_tokens else float("inf")
        self._limit(most)
        log.info("Batches of graph %s have at most %d tokens now", self._name, most)

    def _limit(self, max_tokens: int) -> None:
        self._queue.limits = replace(self._queue.limits, max_tokens=max_tokens)
