"""Items of concurrent requests in, engine calls out, vectors back to each request in its own order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ingrain.batching.forecast import EngineForecast
from ingrain.batching.in_flight import SharedInFlight
from ingrain.batching.queue import BatchLimits, BatchQueue
from ingrain.errors import (
    DeadlineExceededError,
    EngineUnavailableError,
    InferenceError,
    IngrainError,
    ModelNotLoadedError,
    NotFiniteError,
    QueueFullError,
)

P = TypeVar("P")
Rows = NDArray[np.float32]
RunBatch = Callable[[Sequence[P]], Awaitable[Rows]]
"""Runs one batch in the engine: payloads in, ``float32 [B, …]`` out, rows in the same order."""

_SMOOTHING = 0.2
_SHORTEST_PAUSE_S = 0.001
_FIRST_GUESS_TOKENS_PER_S = 5_000.0


@dataclass(slots=True, eq=False)
class _Request(Generic[P]):
    """The items of one request that still miss their rows."""

    payloads: Sequence[P]
    lengths: Sequence[int]
    future: asyncio.Future[Rows]
    timeout_s: float
    deadline: float
    missing: int
    waiting_items: int = 0
    waiting_tokens: int = 0
    is_forgotten: bool = False
    rows: Rows | None = None

    def fill(self, index: int, row: Rows) -> None:
        """Take an item's row, ``float32 [1, …]``."""
        if len(self.payloads) == 1:
            self.rows = row
        else:
            if self.rows is None:
                self.rows = np.empty((len(self.payloads), *row.shape[1:]), row.dtype)
            self.rows[index] = row[0]
        self.missing -= 1
        if not self.missing and not self.future.done():
            self.future.set_result(self.rows)

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


@dataclass(slots=True)
class BatcherStatistics:
    """What a batcher did since it was made; tokens are without padding."""

    batches: int = 0
    items: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    rejected_requests: int = 0
    late_requests: int = 0
    batch_sizes: dict[int, int] = field(default_factory=dict)


class Batcher(Generic[P]):
    """Queues the items of many requests for one graph and keeps the engine busy with batches of them.

    While batches run, the next ones gather. An idle engine gets work at once; the one batch that is sent ahead, so that
    no instance waits for work, is put together as late as the forecast allows.

    Args:
        run: Runs one batch.
        length: Length of a payload in tokens.
        limits: How large and uneven a batch may be.
        in_flight: Batches in the engine at the same time; one more than the engine's instances keeps it busy.
        max_queue_tokens: Tokens that may wait. A request that finds an empty queue is taken whatever its size.
        shared: Counts ``in_flight`` over the processes that send batches of this graph to the same engine; None where
            there is no other. One batch is sent whatever the others do, so that nobody waits for their word.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        run: RunBatch[P],
        length: Callable[[P], int],
        *,
        limits: BatchLimits,
        in_flight: int,
        max_queue_tokens: int,
        shared: SharedInFlight | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.statistics = BatcherStatistics()
        self._run = run
        self._length = length
        self._in_flight = in_flight
        self._forecast = EngineForecast(max(1, in_flight - 1))
        self._max_queue_tokens = max_queue_tokens
        self._shared = shared
        self._clock = clock
        self._queue: BatchQueue[tuple[_Request[P], int]] = BatchQueue(
            limits, is_wanted=lambda entry: not entry[0].is_forgotten
        )
        self._running: set[asyncio.Task[None]] = set()
        self._unanswered: set[_Request[P]] = set()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0.0
        self._wake_up: asyncio.Handle | None = None
        self._tokens_per_s = _FIRST_GUESS_TOKENS_PER_S
        self._busy_since = 0.0
        self._busy_tokens = 0
        self._closed: IngrainError | None = None

    @property
    def queued_tokens(self) -> int:
        """Tokens that wait, those of the running batches not among them."""
        return self._queue.tokens

    async def submit(self, payloads: Sequence[P], *, timeout_s: float) -> Rows:
        """Compute the rows of one request.

        Args:
            payloads: ``N`` items, at least one.
            timeout_s: Seconds until nobody wants the answer any more.

        Returns:
            ``float32 [N, …]`` in the order of the payloads.

        Raises:
            QueueFullError: Too much waits already.
            DeadlineExceededError: The time passed.
            EngineError: The engine failed on the request's items.
        """
        if self._closed is not None:
            raise self._closed
        lengths = [max(1, self._length(payload)) for payload in payloads]
        self._refuse_when_full(sum(lengths))
        request = _Request(
            payloads=payloads,
            lengths=lengths,
            future=asyncio.get_running_loop().create_future(),
            timeout_s=timeout_s,
            deadline=self._clock() + timeout_s,
            missing=len(payloads),
            waiting_items=len(payloads),
            waiting_tokens=sum(lengths),
        )
        self._queue.add(((request, index), length) for index, length in enumerate(lengths))
        self._schedule()
        self._unanswered.add(request)
        if self._alarm is None or request.deadline < self._alarm_at:
            self._set_alarm(request.deadline)
        try:
            return await request.future
        except asyncio.CancelledError:
            self._discard(request)
            raise
        finally:
            self._unanswered.discard(request)

    def close(self, error: IngrainError) -> None:
        """Answer all that waits, and all that comes, with this error; running batches finish."""
        self._closed = error
        while taken := self._take():
            _fail_all(taken, error)

    def _discard(self, request: _Request[P]) -> None:
        """Take a request's waiting items out: nobody wants them, and they must not keep others out."""
        request.future.cancel()
        self._forget(request)

    def _forget(self, request: _Request[P]) -> None:
        if not request.is_forgotten:
            request.is_forgotten = True
            self._queue.forget(request.waiting_items, request.waiting_tokens)

    def _set_alarm(self, at: float) -> None:
        # One timer for all requests: one of their own would cost each of them more than its place in the queue does.
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = at
        self._alarm = asyncio.get_running_loop().call_later(max(0.0, at - self._clock()), self._end_late)

    def _end_late(self) -> None:
        """Answer the requests whose time is over, and wait for the next one."""
        self._alarm = None
        now = self._clock()
        for request in [request for request in self._unanswered if request.deadline <= now]:
            self.statistics.late_requests += 1
            request.fail(
                DeadlineExceededError(
                    f"The request was not finished within its {request.timeout_s:g} s.",
                    retry_after_s=self._drain_time_s(),
                )
            )
            self._forget(request)
            self._unanswered.discard(request)
        if self._unanswered:
            self._set_alarm(min(request.deadline for request in self._unanswered))

    def _refuse_when_full(self, tokens: int) -> None:
        queued = self._queue.tokens
        if queued and queued + tokens > self._max_queue_tokens:
            self.statistics.rejected_requests += 1
            raise QueueFullError(
                f"The queue of this model is full: {queued} tokens wait, this request has {tokens}, and the limit is "
                f"{self._max_queue_tokens}. Try again later.",
                retry_after_s=self._drain_time_s(),
                facts={"queuedTokens": queued, "limit": self._max_queue_tokens},
            )

    def _drain_time_s(self) -> float:
        return self._queue.tokens / self._tokens_per_s

    def _schedule(self) -> None:
        # One turn of the event loop later, so that requests that arrive together share a batch.
        if self._wake_up is None:
            self._wake_up = asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._wake_up = None
        while self._queue and len(self._running) < self._in_flight:
            elsewhere = self._shared.elsewhere() if self._shared is not None else 0
            if self._running and len(self._running) + elsewhere >= self._in_flight:
                return  # looked at again when a batch of ours comes back
            pause_s = self._forecast.seconds_to_spare(self._clock(), elsewhere)
            if pause_s > _SHORTEST_PAUSE_S:
                # The engine has enough to do: a batch that is put together later holds more.
                self._wake_up = asyncio.get_running_loop().call_later(pause_s, self._dispatch)
                return
            batch = [entry for entry in self._take() if self._is_wanted(entry[0])]
            if batch:
                if not self._running:
                    self._busy_since, self._busy_tokens = self._clock(), 0
                task = asyncio.create_task(self._run_batch(batch))
                self._running.add(task)
                self._forecast.begin(task, sum(request.lengths[index] for request, index in batch), self._clock())
                if self._shared is not None:
                    self._shared.begin()
                task.add_done_callback(self._finished)

    def _take(self) -> list[tuple[_Request[P], int]]:
        taken = self._queue.take()
        for request, index in taken:
            request.waiting_items -= 1
            request.waiting_tokens -= request.lengths[index]
        return taken

    def _is_wanted(self, request: _Request[P]) -> bool:
        return not request.future.done() and request.deadline > self._clock()

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if self._shared is not None:
            self._shared.end()
        self._forecast.end(task, self._clock())
        if self._wake_up is not None:
            self._wake_up.cancel()
        self._dispatch()

    async def _run_batch(self, batch: list[tuple[_Request[P], int]]) -> None:
        payloads = [request.payloads[index] for request, index in batch]
        try:
            rows = await self._run(payloads)
            if len(rows) != len(payloads):
                raise InferenceError(f"The engine answered {len(rows)} rows for a batch of {len(payloads)}.")
            for place, (request, index) in enumerate(batch):
                request.fill(index, rows[place : place + 1])
        except (EngineUnavailableError, ModelNotLoadedError) as error:
            _fail_all(batch, error)
        except (InferenceError, NotFiniteError) as error:
            # One bad item must not fail its neighbours: each is tried once more alone.
            if len(batch) == 1:
                _fail_all(batch, error)
            else:
                await self._run_apart(batch)
        except IngrainError as error:
            _fail_all(batch, error)
        except BaseException:  # whatever ends this batch, its callers must not wait for ever
            _fail_all(batch, InferenceError("The batch could not be run because of an internal error."))
            raise
        else:
            self._count([request.lengths[index] for request, index in batch])

    async def _run_apart(self, batch: list[tuple[_Request[P], int]]) -> None:
        try:
            for entry in batch:
                if self._is_wanted(entry[0]):
                    await self._run_batch([entry])
        except BaseException:  # whatever ends this batch, its callers must not wait for ever
            _fail_all(batch, InferenceError("The batch could not be run because of an internal error."))
            raise

    def _count(self, lengths: Sequence[int]) -> None:
        tokens = sum(lengths)
        counted = self.statistics
        counted.batches += 1
        counted.items += len(lengths)
        counted.tokens += tokens
        counted.padded_tokens += len(lengths) * max(lengths)
        counted.batch_sizes[len(lengths)] = counted.batch_sizes.get(len(lengths), 0) + 1
        self._busy_tokens += tokens
        elapsed = self._clock() - self._busy_since
        if elapsed > 0:
            rate = self._busy_tokens / elapsed
            self._tokens_per_s += _SMOOTHING * (rate - self._tokens_per_s)


def _fail_all(batch: list[tuple[_Request[P], int]], error: IngrainError) -> None:
    for request, _ in batch:
        request.fail(error)
