"""Ends requests whose time is over, with one timer for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from ingrain.batching.request import BatchedRequest

P = TypeVar("P")

_LEAST_LOOK_S = 0.02


class Deadlines(Generic[P]):
    """The requests that wait for rows, and a timer that rings when the next of them is late.

    A timer for each request would cost it more than its place in the queue does.

    Attributes:
        requests: All that wait. Whoever answers a request takes it out.

    Args:
        fail: Answers a request that is late.
        needed_s: Returns the seconds that a request which still waits for a batch would need to be answered.
        clock: Monotonic seconds.
    """

    def __init__(
        self, fail: Callable[[BatchedRequest[P]], None], needed_s: Callable[[], float], clock: Callable[[], float]
    ) -> None:
        self.requests: set[BatchedRequest[P]] = set()
        self._fail = fail
        self._needed_s = needed_s
        self._clock = clock
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = float("inf")
        self._looked_at = 0.0

    def add(self, request: BatchedRequest[P]) -> None:
        """Watch a request."""
        self.requests.add(request)
        if request.deadline < self._alarm_at:
            self._set_alarm(request.deadline)

    def look_if_due(self) -> None:
        """End late requests, unless that has just been done: a busy event loop may ring late."""
        if self._clock() > self._looked_at + _LEAST_LOOK_S:
            self._end_late()

    def _set_alarm(self, at: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        now = self._clock()
        self._alarm_at = max(at, now + _LEAST_LOOK_S)
        self._alarm = asyncio.get_running_loop().call_later(self._alarm_at - now, self._end_late)

    def _end_late(self) -> None:
        """End the requests whose time is over or will not suffice any more, and set the alarm for the next one.

        A request that still waits for a batch ends ``needed_s`` earlier: to compute it for nobody would only make the
        next ones late too.
        """
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm, self._alarm_at = None, float("inf")
        self._looked_at = now = self._clock()
        needed_s = self._needed_s()
        late, next_end = [], float("inf")
        for request in self.requests:
            end = request.deadline - needed_s if request.waiting_items else request.deadline
            if end > now:
                next_end = min(next_end, end)
            else:
                late.append(request)
        if len(late) < len(self.requests):
            self._set_alarm(next_end)
        for request in late:  # only now: who is told may send the next request at once, which may set the alarm, too
            self._fail(request)
