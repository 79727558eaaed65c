"""Refuses requests if the queue is full or too long to answer them in time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ingrain.batching.forecast import EnginePace
from ingrain.batching.queue import BatchQueue
from ingrain.errors import QueueFullError

# Largest share of a request's timeout that waiting in the queue may take.
_MOST_WAIT_SHARE = 0.8
# A caller is never told to wait longer before the next attempt.
_LONGEST_RETRY_S = 30.0


@dataclass(slots=True)
class Admission:
    """Decides which requests may join a queue.

    Attributes:
        queue: The queue.
        pace: The engine's throughput.
        max_queue_tokens: Limit of waiting tokens. An empty queue accepts a request of any size.
        clock: Monotonic seconds.
    """

    queue: BatchQueue[Any]
    pace: EnginePace
    max_queue_tokens: int
    clock: Callable[[], float]

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
        wait_s = self.pace.expect(waiting, self.clock())
        if wait_s > _MOST_WAIT_SHARE * timeout_s:
            raise self.late(timeout_s, wait_s - _MOST_WAIT_SHARE * timeout_s)

    def late(self, timeout_s: float, retry_after_s: float) -> QueueFullError:
        """Return the error for a request that the queue before it makes late.

        Args:
            timeout_s: Timeout of the request in seconds.
            retry_after_s: Seconds until the queue is short enough.
        """
        return QueueFullError(
            f"The queue of this model is too long to answer the request within {timeout_s:g} s. Try again later.",
            retry_after_s=min(max(0.0, retry_after_s), _LONGEST_RETRY_S),
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
        """Return the seconds until all waiting items have been sent, or the longest time to tell a caller."""
        return min(self.queue.tokens / self.pace.tokens_per_s, _LONGEST_RETRY_S)
