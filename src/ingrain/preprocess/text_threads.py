"""Runs the work of long texts in a few threads: each request in slices, and the requests in turns."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import msgspec

from ingrain.cores import usable_cores
from ingrain.errors import QueueFullError

R = TypeVar("R")

Slice = tuple[Callable[[], R], int]
"""A function that a thread runs, and the number of characters that it works on."""

# Largest share of a request's timeout that waiting for the threads may take, as in ``batching.admission``.
_MOST_WAIT_SHARE = 0.8
_FIRST_GUESS_CHARS_PER_S = 1_000_000.0
_FIRST_GUESS_WEIGHT_S = 0.01
_REMEMBERED = 0.95


class TextThreads:
    """Threads for texts that take too long for the event loop. Create one per process; use it on one event loop.

    Each request gets as many characters per second as any other: the next slice is one of the request that has had the
    fewest. So a request waits for the slices that are running, and never for all of a large request. Slices that have
    not begun are dropped when their request is cancelled.

    Args:
        threads: Number of threads; 0 for half of the cores, so that the event loop and the engine have the others.
        clock: Monotonic seconds.
    """

    def __init__(self, threads: int = 0, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.threads = threads or max(1, usable_cores() // 2)
        self._executor = ThreadPoolExecutor(self.threads, thread_name_prefix="ingrain-text")
        self._clock = clock
        self._waiting: list[tuple[int, int, _Job]] = []
        self._jobs: set[_Job] = set()
        self._numbers = itertools.count()
        self._running = 0
        self._turn = 0
        self._chars = _FIRST_GUESS_CHARS_PER_S * _FIRST_GUESS_WEIGHT_S
        self._seconds = _FIRST_GUESS_WEIGHT_S

    async def run(self, slices: Sequence[Slice[R]], *, timeout_s: float) -> list[R]:
        """Run the slices of one request and return their results, in order.

        Args:
            slices: At least one.
            timeout_s: Timeout of the request in seconds. It is not enforced here: cancel the call when it has passed.

        Raises:
            QueueFullError: The slices of other requests take too long for the timeout.
            Exception: A slice failed; the first such error. Those that have not begun are dropped.
        """
        job = _Job(slices, asyncio.get_running_loop().create_future(), self._turn)
        self._refuse_when_late(job.chars, timeout_s)
        self._jobs.add(job)
        self._wait(job)
        self._begin()
        try:
            return await job.done
        finally:
            job.is_dropped = True
            self._jobs.discard(job)
            del job  # breaks the reference cycle between the error's traceback and this frame

    def _refuse_when_late(self, chars: int, timeout_s: float) -> None:
        # By the time that this request is done, each other one has had at most as many characters as this one.
        before = sum(min(chars, other.chars) for other in self._jobs)
        wait_s = (before + chars) * self._seconds / self._chars / self.threads
        if before and wait_s > _MOST_WAIT_SHARE * timeout_s:
            raise QueueFullError(
                f"Tokenizing the texts of this request would take about {wait_s:.1f} s beside those of others, and the "
                f"request is to be answered within {timeout_s:.1f} s. Try again later.",
                retry_after_s=wait_s - _MOST_WAIT_SHARE * timeout_s,
                facts={"queuedChars": sum(other.chars for other in self._jobs)},
            )

    def _wait(self, job: _Job) -> None:
        heapq.heappush(self._waiting, (job.turn, next(self._numbers), job))

    def _begin(self) -> None:
        """Begin slices while threads are free."""
        while self._waiting and self._running < self.threads:
            turn, _, job = heapq.heappop(self._waiting)
            if job.is_dropped:
                continue
            self._turn = max(self._turn, turn)
            number, job.begun = job.begun, job.begun + 1
            work, chars = job.slices[number]
            job.turn += chars
            if job.begun < len(job.slices):
                self._wait(job)
            self._running += 1
            running = self._executor.submit(work)
            running.add_done_callback(partial(self._hand_over, asyncio.get_running_loop(), job, number, self._clock()))

    def _hand_over(
        self, loop: asyncio.AbstractEventLoop, job: _Job, number: int, began: float, ended: Future[Any]
    ) -> None:
        """Tell the event loop, from a thread, that a slice has ended."""
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._end, job, number, ended, self._clock() - began)

    def _end(self, job: _Job, number: int, ended: Future[Any], seconds: float) -> None:
        self._running -= 1
        chars = job.slices[number][1]
        self._chars = _REMEMBERED * self._chars + chars
        self._seconds = _REMEMBERED * self._seconds + seconds
        job.end(number, ended)
        self._begin()


class _Job(msgspec.Struct, eq=False):
    """The slices of one request.

    Attributes:
        slices: The slices.
        done: Gets the results or the first error.
        turn: Characters that the request has had, counted from the turn at its arrival.
        begun: Number of slices that were begun.
        chars: Characters of the slices that have not ended.
        results: Results of the slices that have ended.
        is_dropped: True once nobody waits for the results.
    """

    slices: Sequence[Slice[Any]]
    done: asyncio.Future[list[Any]]
    turn: int
    begun: int = 0
    chars: int = 0
    results: dict[int, Any] = {}
    is_dropped: bool = False

    def __post_init__(self) -> None:
        self.chars = sum(chars for _, chars in self.slices)

    def end(self, number: int, ended: Future[Any]) -> None:
        """Take the result of a slice."""
        self.chars -= self.slices[number][1]
        if self.done.done():
            return
        if (error := ended.exception()) is not None:
            self.is_dropped = True
            self.done.set_exception(error)
            return
        self.results[number] = ended.result()
        if len(self.results) == len(self.slices):
            self.done.set_result([self.results[place] for place in range(len(self.slices))])
