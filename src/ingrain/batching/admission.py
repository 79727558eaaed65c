"""Refuses requests if the queue is full or too long to answer them in time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ingrain.batching.forecast import EnginePace
from ingrain.batching.queue import BatchQueue
from ingrain.errors import QueueFullError

# Largest share of a request's timeout that waiting in the queue may take.
_MOST_WAIT_SHARE = 0.8


@dataclass(slots=True)
class Admission:
    """Decides which requests may join a queue.

    Attributes:
        queue: The queue.
        pace: The engine's throughput.
        max_queue_tokens: Limit of waiting tokens. An empty queue accepts a request of any size.
    """

    queue: BatchQueue[Any]
    pace: EnginePace
    max_queue_tokens: int

    def refuse_when_late(self, items: int, timeout_s: float) -> None:
        """Refuse a small request early if the queue before it takes too long for its timeout.

        Args:
            items: Items of the request.
            timeout_s: Timeout of the request in seconds.

        Raises:
            QueueFullError: With the seconds until the queue is short enough.
        """
        waiting = self.queue.small_tokens
        if not waiting or items > self.queue.limits.max_items:
            return
        wait_s = self.pace.expect(waiting)
        if wait_s > _MOST_WAIT_SHARE * timeout_s:
            raise QueueFullError(
                f"The queue of this model would take about {wait_s:.1f} s, and the request is to be answered within "
                f"{timeout_s:.1f} s. Try again later.",
                retry_after_s=wait_s - _MOST_WAIT_SHARE * timeout_s,
                facts={"queuedTokens": self.queue.tokens},
            )

    def full(self, tokens: int) -> QueueFullError:
        """Return the error for a request whose tokens do not fit into the queue."""
        queued = self.queue.tokens
        return QueueFullError(
            f"The queue of this model is full: {queued} tokens wait, this request has {tokens}, and the limit is "
            f"{self.max_queue_tokens}. Try again later.",
            retry_after_s=self.drain_time_s(),
            facts={"queuedTokens": queued, "limit": self.max_queue_tokens},
        )

    def drain_time_s(self) -> float:
        """Return the seconds until all waiting items have been sent."""
        return self.queue.tokens / self.pace.tokens_per_s
