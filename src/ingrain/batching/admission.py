"""Refuses requests that the queue has no room for, or could not answer in time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ingrain.batching.forecast import EnginePace
from ingrain.batching.queue import BatchQueue
from ingrain.errors import QueueFullError

# Share of a request's time that the queue before it may take.
_MOST_WAIT_SHARE = 0.8


@dataclass(slots=True)
class Admission:
    """Decides which requests may join a queue.

    Attributes:
        queue: The queue.
        pace: How fast the engine works it off.
        max_queue_tokens: Tokens that may wait. A request that finds an empty queue is taken whatever its size.
    """

    queue: BatchQueue[Any]
    pace: EnginePace
    max_queue_tokens: int

    def refuse_when_late(self, items: int, timeout_s: float) -> None:
        """Refuse a small request that what waits before it would make late, before anything is spent on it.

        Args:
            items: How many it has.
            timeout_s: Seconds until nobody wants the answer any more.

        Raises:
            QueueFullError: With the seconds after which enough of the queue will have been worked off.
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
        """Return the error for a request of so many tokens that do not fit into the queue."""
        queued = self.queue.tokens
        return QueueFullError(
            f"The queue of this model is full: {queued} tokens wait, this request has {tokens}, and the limit is "
            f"{self.max_queue_tokens}. Try again later.",
            retry_after_s=self.drain_time_s(),
            facts={"queuedTokens": queued, "limit": self.max_queue_tokens},
        )

    def drain_time_s(self) -> float:
        """Return the seconds until all that waits has been sent."""
        return self.queue.tokens / self.pace.tokens_per_s
