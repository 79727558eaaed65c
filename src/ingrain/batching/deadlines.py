"""Fails requests whose deadline has passed, with one timer for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from ingrain.batching.request import BatchedRequest

P = TypeVar("P")

_LEAST_LOOK_S = 0.02
# What waits is looked at so often, because the time that it needs changes.
_LONGEST_LOOK_S = 0.25


class Deadlines(Generic[P]):
    """The requests that wait for rows, and a timer for the earliest deadline.

    A timer for each request would cost more than queueing the request.

    Attributes:
        requests: All waiting requests, the oldest first. The code that answers a request removes it.

    Args:
        fail: Fails a late request.
        needed_s: Returns the seconds that a request still in the queue needs to be answered: those of any request, and
            those for each token that waits before it.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        fail: Callable[[BatchedRequest[P]], None],
        needed_s: Callable[[], tuple[float, float]],
        clock: Callable[[], float],
    ) -> None:
        self.requests: dict[BatchedRequest[P], None] = {}
        self._fail = fail
        self._needed_s = needed_s
        self._clock = clock
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = float("inf")
        self._looked_at = 0.0

    def add(self, request: BatchedRequest[P]) -> None:
        """Watch a request."""
        self.requests[request] = None
        if request.deadline < self._alarm_at:
            self._set_alarm(request.deadline)

    def look_if_due(self) -> None:
        """Fail late requests, unless that was just done; a busy event loop may run the timer late."""
        if self._clock() > self._looked_at + _LEAST_LOOK_S:
            self._end_late()

    def _set_alarm(self, at: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        now = self._clock()
        self._alarm_at = max(at, now + _LEAST_LOOK_S)
        self._alarm = asyncio.get_running_loop().call_later(self._alarm_at - now, self._end_late)

    def _end_late(self) -> None:
        """Fail the requests that are late or cannot be finished in time, and set the timer for the next deadline.

        A request still in the queue fails as soon as it cannot be finished in time: computing it too late would only
        delay the others, and its caller may ask elsewhere. Those before it in the queue are the older small requests.
        """
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm, self._alarm_at = None, float("inf")
        self._looked_at = now = self._clock()
        away_s, token_s = self._needed_s()
        late, next_end, ahead = [], float("inf"), 0
        for request in self.requests:
            end = request.deadline
            if request.waiting_items:
                end -= away_s if request.is_bulk else away_s + token_s * ahead
            if end <= now:
                late.append(request)
                continue
            next_end = min(next_end, end)
            if not request.is_bulk:
                ahead += request.waiting_tokens
        if len(late) < len(self.requests):
            self._set_alarm(min(next_end, now + _LONGEST_LOOK_S) if ahead else next_end)
        for request in late:  # last, because `fail` may add a new request and so set the timer again
            self._fail(request)
