"""Collects the items of concurrent requests into batches, runs them, and returns each request's rows in its order."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Generic, Protocol, TypeVar

from ingrain.batching.admission import Admission
from ingrain.batching.bulk_throttle import Courtesy
from ingrain.batching.deadlines import Deadlines
from ingrain.batching.forecast import EngineForecast, EnginePace
from ingrain.batching.in_flight import EngineInFlight, SharedInFlight
from ingrain.batching.queue import BatchLimits, BatchQueue
from ingrain.batching.request import BatchedRequest, FutureWaiter, Rows, Waiter
from ingrain.batching.statistics import BatcherStatistics
from ingrain.errors import DeadlineExceededError, InferenceError, IngrainError, NotFiniteError

P = TypeVar("P")
Payload = TypeVar("Payload", contravariant=True)

_SHORTEST_PAUSE_S = 0.001

log = logging.getLogger("ingrain.server")


class RunBatch(Protocol[Payload]):
    """Runs one batch in the engine."""

    async def __call__(self, payloads: Sequence[Payload], *, alone: bool) -> Rows:
        """Return the rows of the payloads, ``float32 [B, …]``, in the same order.

        Args:
            payloads: ``B`` items.
            alone: No other batch is in the engine, nor does one wait for it.
        """
        ...


class Batcher(Generic[P]):
    """Queues the items of many requests for one graph and keeps the engine busy with batches of them.

    While batches run, the next ones gather. An idle engine gets work at once; the one batch that is sent ahead, so that
    no instance waits for work, is put together as late as the forecast allows.

    A bulk request is one that no single batch holds; ``Courtesy`` limits its batches while small requests come too. A
    request that the queue before it would make late is refused (``Admission``), and one that became too late to be
    finished leaves the queue (``Deadlines``): the engine computes only what is still wanted.

    Args:
        run: Runs one batch.
        length: Length of a payload in tokens.
        limits: How large and uneven a batch may be.
        in_flight: Batches in the engine at the same time; one more than the engine's instances keeps it busy.
        max_queue_tokens: Tokens that may wait. A request that finds an empty queue is taken whatever its size.
        shared: Counts ``in_flight`` over the processes that send batches of this graph to the same engine; None where
            there is no other. One batch is sent whatever the others do, so that nobody waits for their word.
        engine: Counts the batches of all graphs; None where this is the only one.
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
        engine: EngineInFlight | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.statistics = BatcherStatistics()
        self._run = run
        self._length = length
        self._in_flight = in_flight
        self._shared = shared
        self._engine = engine or EngineInFlight()
        self._clock = clock
        self._queue: BatchQueue[tuple[BatchedRequest[P], int]] = BatchQueue(
            limits, is_wanted=lambda entry: not entry[0].is_forgotten
        )
        self._pace = EnginePace()
        self._forecast = EngineForecast(max(1, in_flight - 1))
        self._admission = Admission(self._queue, self._pace, max_queue_tokens)
        self.refuse_when_late = self._admission.refuse_when_late  # called for every request: no method around it
        self._courtesy = Courtesy(self._queue, self._forecast)
        self._deadlines: Deadlines[P] = Deadlines(self._fail_late, self._needed_s, clock)
        self._unanswered = self._deadlines.requests
        # The batches in the engine, and whether there are items of bulk requests in them.
        self._running: dict[asyncio.Task[None], bool] = {}
        self._wake_up: asyncio.Handle | None = None
        self._closed: IngrainError | None = None

    @property
    def queued_tokens(self) -> int:
        """Tokens that wait, without those of running batches."""
        return self._queue.tokens

    async def submit(self, payloads: Sequence[P], *, timeout_s: float) -> Rows:
        """Compute the rows of one request.

        Args:
            payloads: ``N`` items, at least one.
            timeout_s: Seconds until nobody wants the answer any more.

        Returns:
            ``float32 [N, …]`` in the order of the payloads.

        Raises:
            QueueFullError: Too much waits already, or as much as would make the answer late.
            DeadlineExceededError: The time passed, or what was left of it did not suffice.
            EngineError: The engine failed on the request's items.
        """
        future: asyncio.Future[Rows] = asyncio.get_running_loop().create_future()
        cancel = self.put(payloads, FutureWaiter(future), timeout_s=timeout_s)
        try:
            return await future
        except asyncio.CancelledError:
            cancel()
            raise
        finally:
            # An error's traceback holds this frame, which must not hold the error by what it waited for.
            del future, cancel

    def put(
        self, payloads: Sequence[P], waiter: Waiter, *, timeout_s: float, is_let_in: bool = False
    ) -> Callable[[], None]:
        """Compute the rows of one request and hand them to a waiter: ``submit`` without a coroutine.

        Args:
            payloads: ``N`` items, at least one.
            waiter: Gets the rows or an error, never before this returns.
            timeout_s: Seconds until nobody wants the answer any more.
            is_let_in: True where ``refuse_when_late`` has just let the request pass.

        Returns:
            A function that cancels the request; the waiter is not called then.

        Raises:
            QueueFullError: Too much waits already, or as much as would make the answer late.
            EngineError: The batcher is closed.
        """
        if self._closed is not None:
            raise self._closed
        count_tokens = self._length
        lengths = [count_tokens(payload) or 1 for payload in payloads]
        tokens = sum(lengths)
        queue, now = self._queue, self._clock()
        queued = queue.tokens
        if queued and queued + tokens > self._admission.max_queue_tokens:
            raise self._admission.full(tokens)
        is_bulk = len(lengths) > queue.limits.max_items or tokens > queue.limits.max_tokens
        if not is_bulk:
            if not is_let_in:
                self.refuse_when_late(len(lengths), timeout_s)
            self._courtesy.small_request_came(tokens, now)
        request = BatchedRequest(
            payloads,
            lengths,
            waiter,
            timeout_s,
            now + timeout_s,
            missing=len(lengths),
            is_bulk=is_bulk,
            waiting_items=len(lengths),
            waiting_tokens=tokens,
        )
        queue.add([((request, index), length) for index, length in enumerate(lengths)], is_bulk=is_bulk)
        self._schedule()
        self._deadlines.add(request)
        return partial(self._discard, request)

    def retune(self, *, max_items: int, max_tokens: int, in_flight: int) -> None:
        """Change the limits of the next batches; waiting requests, running batches and counts stay.

        Args:
            max_items: Most items in a batch.
            max_tokens: Most tokens in a batch, padding included.
            in_flight: Batches in the engine at the same time.
        """
        self._queue.limits = replace(self._queue.limits, max_items=max_items, max_tokens=max_tokens)
        self._in_flight = in_flight
        self._forecast.resize(max(1, in_flight - 1))
        self._schedule()

    def close(self, error: IngrainError) -> None:
        """Answer all waiting and all later requests with this error; running batches finish."""
        self._closed = error
        while taken := self._take():
            self._fail_all(taken, error)

    def _discard(self, request: BatchedRequest[P]) -> None:
        """Take out the waiting items of a cancelled request, which must not keep others out."""
        if request.take_waiter() is not None:
            self._unanswered.discard(request)
            self._forget(request)

    def _answer(self, request: BatchedRequest[P]) -> None:
        waiter = request.take_waiter()
        if waiter is not None:
            self._unanswered.discard(request)
            assert request.rows is not None
            try:
                waiter.done(request.rows)
            except Exception:  # the others of the batch must get theirs
                log.exception("A request's rows could not be handed on")

    def _fail(self, request: BatchedRequest[P], error: IngrainError) -> None:
        waiter = request.take_waiter()
        if waiter is not None:
            self._unanswered.discard(request)
            try:
                waiter.failed(error)
            except Exception:  # the others must be told, too
                log.exception("A request's error could not be handed on")

    def _fail_all(self, batch: list[tuple[BatchedRequest[P], int]], error: IngrainError) -> None:
        for request, _ in batch:
            self._fail(request, error)

    def _forget(self, request: BatchedRequest[P]) -> None:
        if not request.is_forgotten:
            request.is_forgotten = True
            self._queue.forget(request.waiting_items, request.waiting_tokens, is_bulk=request.is_bulk)

    def _needed_s(self) -> float:
        return self._pace.away_s if len(self._running) >= self._forecast.instances else 0.0

    def _fail_late(self, request: BatchedRequest[P]) -> None:
        if request.waiter is None:
            return
        self._forget(request)
        message = f"The request was not finished within its {request.timeout_s:g} s."
        self._fail(request, DeadlineExceededError(message, retry_after_s=self._admission.drain_time_s()))

    def _schedule(self) -> None:
        # One turn of the event loop later, so that requests that arrive together share a batch.
        if self._wake_up is None:
            self._wake_up = asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._wake_up = None
        self._deadlines.look_if_due()
        while self._queue and len(self._running) < self._in_flight:
            elsewhere = self._shared.elsewhere() if self._shared is not None else 0
            if self._running and len(self._running) + elsewhere >= self._in_flight:
                return  # looked at again when a batch of ours comes back
            now = self._clock()
            most_bulk_tokens = self._courtesy.most_bulk_tokens(now, self._running)
            if most_bulk_tokens == 0 and not self._queue.small_tokens:
                return  # the batch that ends next brings us back
            pause_s = self._forecast.seconds_to_spare(now, elsewhere)
            if pause_s > _SHORTEST_PAUSE_S:
                # The engine has enough to do: a batch that is put together later holds more.
                self._wake_up = asyncio.get_running_loop().call_later(pause_s, self._dispatch)
                return
            taken = self._take(most_bulk_tokens)
            if not taken:
                return  # all that waits is held back until a batch ends
            batch = [entry for entry in taken if self._is_wanted(entry[0], now)]
            if batch:
                self._send(batch, now)

    def _send(self, batch: list[tuple[BatchedRequest[P], int]], now: float) -> None:
        if not self._running:
            self._pace.begin(now)
        alone = self._engine.is_idle and not self._queue
        self._engine.begin()
        task = asyncio.create_task(self._run_batch(batch, alone=alone))
        self._running[task] = any(request.is_bulk for request, _ in batch)
        self._forecast.begin(task, sum([request.lengths[index] for request, index in batch]), now)
        if self._shared is not None:
            self._shared.begin()
        task.add_done_callback(self._finished)

    def _take(self, most_bulk_tokens: int | None = None) -> list[tuple[BatchedRequest[P], int]]:
        taken = self._queue.take(most_bulk_tokens)
        for request, index in taken:
            request.waiting_items -= 1
            request.waiting_tokens -= request.lengths[index]
        return taken

    @staticmethod
    def _is_wanted(request: BatchedRequest[P], now: float) -> bool:
        return request.waiter is not None and request.deadline > now

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task, None)
        self._engine.end()
        if self._shared is not None:
            self._shared.end()
        self._forecast.end(task, self._clock())
        if self._wake_up is not None:
            self._wake_up.cancel()
        self._dispatch()

    async def _run_batch(self, batch: list[tuple[BatchedRequest[P], int]], *, alone: bool = False) -> None:
        payloads = [request.payloads[index] for request, index in batch]
        sent_at = self._clock()
        try:
            rows = await self._run(payloads, alone=alone)
            if len(rows) != len(payloads):
                raise InferenceError(f"The engine answered {len(rows)} rows for a batch of {len(payloads)}.")
            now = self._clock()
            lengths = [request.lengths[index] for request, index in batch]
            self.statistics.count(lengths, self._queue.limits.padded(max(lengths)))
            self._pace.end(sum(lengths), sent_at, now)
            for place, (request, index) in enumerate(batch):
                if request.deadline <= now:
                    self._fail_late(request)
                elif request.fill(index, rows[place : place + 1]):
                    self._answer(request)
        except (InferenceError, NotFiniteError) as error:
            # One bad item must not fail its neighbours: each is tried once more alone.
            if len(batch) == 1:
                self._fail_all(batch, error)
            else:
                await self._run_apart(batch)
        except IngrainError as error:
            self._fail_all(batch, error)
        except BaseException:  # whatever ends this batch, its callers must not wait for ever
            self._fail_all(batch, InferenceError("The batch could not be run because of an internal error."))
            raise

    async def _run_apart(self, batch: list[tuple[BatchedRequest[P], int]]) -> None:
        try:
            for entry in batch:
                if self._is_wanted(entry[0], self._clock()):
                    await self._run_batch([entry])
        except BaseException:  # whatever ends this batch, its callers must not wait for ever
            self._fail_all(batch, InferenceError("The batch could not be run because of an internal error."))
            raise
