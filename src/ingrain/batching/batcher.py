"""Collects the items of concurrent requests into batches, runs them, and returns each request's rows in its order."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import replace
from functools import partial
from typing import Generic, TypeVar

from ingrain.batching.admission import Admission
from ingrain.batching.bulk_throttle import Courtesy
from ingrain.batching.deadlines import Deadlines
from ingrain.batching.followed import is_followed, run_followed
from ingrain.batching.forecast import EngineForecast, EnginePace
from ingrain.batching.in_flight import EngineInFlight, SharedInFlight
from ingrain.batching.memory_budget import MemoryBudget
from ingrain.batching.queue import Batch, BatchLimits, BatchQueue, places_by_length
from ingrain.batching.request import BatchedRequest, Rows, RunBatch, Waiter, submit
from ingrain.batching.statistics import BatcherStatistics
from ingrain.errors import (
    DeadlineExceededError,
    EngineMemoryError,
    EngineUnavailableError,
    InferenceError,
    IngrainError,
    NotFiniteError,
)
from ingrain.timeline import current

P = TypeVar("P")

_SHORTEST_PAUSE_S = 0.001
# A batch that has been away for so long hangs: seconds, and times the batch's expected time, whichever is longer.
_LEAST_PATIENCE_S = 15.0
_PATIENCE = 30
_RETRY_AFTER_S = 5.0
_FAILED = "The engine failed on this batch; the server's log has the cause."

log = logging.getLogger("ingrain.server")


class Batcher(Generic[P]):
    """Queues the items of many requests for one graph and keeps the engine busy with batches of them.

    Items collect in the queue while batches run. An idle engine gets a batch at once. One more batch is sent ahead, so
    that no instance waits for work; it is formed as late as the forecast allows.

    A bulk request is one that does not fit into a single batch; ``Courtesy`` limits its batches while small requests
    come too. ``Admission`` refuses a request that the queue would make late. ``Deadlines`` removes a request that can
    no longer be finished in time, so that the engine does not compute unwanted rows.

    Args:
        run: Runs one batch.
        lengths: Returns the length of each of a request's payloads in tokens.
        limits: Limits of batch size and padding.
        in_flight: Batches in the engine at the same time; one more than the engine's instances keeps it busy.
        max_queue_tokens: Limit of waiting tokens. An empty queue accepts a request of any size.
        shared: Counts ``in_flight`` over all processes that send batches of this graph to the same engine; None if
            this process is the only one. Each process may always send one batch, whatever the others do.
        engine: Counts the batches of all graphs; None if there is only this graph.
        name: Name of the graph, for the log.
        clock: Monotonic seconds.
    """

    looks_up_first = False

    def __init__(
        self,
        run: RunBatch[P],
        lengths: Callable[[Sequence[P]], Sequence[int]],
        *,
        limits: BatchLimits,
        in_flight: int,
        max_queue_tokens: int,
        shared: SharedInFlight | None = None,
        engine: EngineInFlight | None = None,
        name: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.statistics = BatcherStatistics()
        self._run = run
        self._lengths = lengths
        self._in_flight = in_flight
        self._shared = shared
        self._engine = engine or EngineInFlight()
        self._clock = clock
        self._queue: BatchQueue[BatchedRequest[P]] = BatchQueue(
            limits, is_wanted=lambda request: not request.is_forgotten
        )
        self._budget = MemoryBudget(self._queue, name)
        self._pace = EnginePace()
        self._forecast = EngineForecast(max(1, in_flight - 1))
        self._admission = Admission(self._queue, self._pace, max_queue_tokens, clock)
        self.refuse_when_late = self._admission.refuse_when_late  # called for every request, so without a wrapper
        self._courtesy = Courtesy(self._queue, self._forecast)
        self._deadlines: Deadlines[P] = Deadlines(self._fail_late, self._needed_s, clock)
        self._unanswered = self._deadlines.requests
        # The batches in the engine; True for those with items of bulk requests.
        self._running: dict[asyncio.Task[None], bool] = {}
        self._wake_up: asyncio.Handle | None = None
        self._closed: IngrainError | None = None

    @property
    def queued_tokens(self) -> int:
        """Waiting tokens, without those of running batches."""
        return self._queue.tokens

    @property
    def is_idle(self) -> bool:
        """Whether no request waits for rows and no batch runs."""
        return not self._unanswered and not self._running

    @property
    def limits(self) -> BatchLimits:
        """Limits of batch size and padding."""
        return self._queue.limits

    def fits_one_batch(self, payloads: Sequence[P]) -> bool:
        """Return whether a request of these items may be sent as one batch; otherwise it is a bulk request."""
        limits = self._queue.limits
        return len(payloads) <= limits.max_items and sum(self._lengths(payloads)) <= limits.max_tokens

    async def submit(self, payloads: Sequence[P], *, timeout_s: float) -> Rows:
        """Compute the rows of one request.

        Args:
            payloads: ``N`` items, at least one.
            timeout_s: Timeout of the request in seconds.

        Returns:
            ``float32 [N, …]`` in the order of the payloads.

        Raises:
            QueueFullError: The queue is full, or too long to answer in time.
            DeadlineExceededError: The timeout passed, or the remaining time does not suffice.
            EngineError: The engine failed on the request's items.
        """
        return await submit(self, payloads, timeout_s=timeout_s)

    def put(
        self, payloads: Sequence[P], waiter: Waiter, *, timeout_s: float, is_let_in: bool = False
    ) -> Callable[[], None]:
        """Compute the rows of one request and pass them to a waiter: ``submit`` without a coroutine.

        Args:
            payloads: ``N`` items, at least one.
            waiter: Gets the rows or an error, never before this method returns.
            timeout_s: Timeout of the request in seconds.
            is_let_in: True if ``refuse_when_late`` has just accepted the request.

        Returns:
            A function that cancels the request; the waiter is not called then.

        Raises:
            QueueFullError: The queue is full, or too long to answer in time.
            EngineError: The batcher is closed.
        """
        if self._closed is not None:
            raise self._closed
        by_length = places_by_length(self._lengths(payloads))
        count = len(payloads)
        tokens = sum([length * len(places) for length, places in by_length.items()])
        queue, now = self._queue, self._clock()
        queued = queue.tokens
        if queued and queued + tokens > self._admission.max_queue_tokens:
            raise self._admission.full(tokens)
        is_bulk = count > queue.limits.max_items or tokens > queue.limits.max_tokens
        if not is_bulk:
            if not is_let_in:
                self.refuse_when_late(count, timeout_s)
            self._courtesy.small_request_came(tokens, now)
        request = BatchedRequest(
            payloads,
            waiter,
            timeout_s,
            now + timeout_s,
            missing=count,
            is_bulk=is_bulk,
            waiting_items=count,
            waiting_tokens=tokens,
            timeline=current.get(),
        )
        if request.timeline is not None:
            request.put_at = time.perf_counter()
        queue.add(request, by_length, is_bulk=is_bulk)
        self._schedule()
        self._deadlines.add(request)
        return partial(self._discard, request)

    def retune(self, *, max_items: int, max_tokens: int, overhead_tokens: int, in_flight: int) -> None:
        """Change the limits of the next batches; waiting requests, running batches and statistics stay.

        Args:
            max_items: Largest number of items in a batch.
            max_tokens: As in ``BatchLimits``.
            overhead_tokens: As in ``BatchLimits``.
            in_flight: Batches in the engine at the same time.
        """
        limits = self._queue.limits
        self._budget.reset(replace(limits, max_items=max_items, max_tokens=max_tokens, overhead_tokens=overhead_tokens))
        self._in_flight = in_flight
        self._forecast.resize(max(1, in_flight - 1))
        self._schedule()

    def close(self, error: IngrainError) -> None:
        """Fail all waiting and all later requests with this error; running batches finish."""
        self._closed = error
        while (batch := self._take()).count:
            self._fail_all(batch, error)

    def _discard(self, request: BatchedRequest[P]) -> None:
        """Remove the waiting items of a cancelled request, so that they do not fill the queue."""
        if request.take_waiter() is not None:
            self._unanswered.pop(request, None)
            self._forget(request)

    def _answer(self, request: BatchedRequest[P]) -> None:
        waiter = request.take_waiter()
        if waiter is not None:
            self._unanswered.pop(request, None)
            assert request.rows is not None
            try:
                waiter.done(request.rows)
            except Exception:  # the batch's other requests must still get their rows
                log.exception("Passing on a request's rows failed")

    def _fail(self, request: BatchedRequest[P], error: IngrainError) -> None:
        waiter = request.take_waiter()
        if waiter is not None:
            self._unanswered.pop(request, None)
            try:
                waiter.failed(error)
            except Exception:  # other requests must still get their error
                log.exception("Passing on a request's error failed")

    def _fail_all(self, batch: Batch[BatchedRequest[P]], error: IngrainError) -> None:
        for request, _, _ in batch.slices:
            self._fail(request, error)

    def _forget(self, request: BatchedRequest[P]) -> None:
        if not request.is_forgotten:
            request.is_forgotten = True
            self._queue.forget(request.waiting_items, request.waiting_tokens, is_bulk=request.is_bulk)

    def _needed_s(self) -> tuple[float, float]:
        away_s = self._pace.away_s if len(self._running) >= self._forecast.instances else 0.0
        return away_s, self._pace.token_s(self._clock())

    def _fail_late(self, request: BatchedRequest[P]) -> None:
        if request.waiter is None:
            return
        left_s = request.deadline - self._clock()
        self._forget(request)
        if request.waiting_items and left_s > self._pace.away_s:
            self._fail(request, self._admission.late(request.timeout_s, self._admission.drain_time_s() - left_s))
            return
        message = f"The request was not finished within its {request.timeout_s:g} s."
        self._fail(request, DeadlineExceededError(message, retry_after_s=self._admission.drain_time_s()))

    def _schedule(self) -> None:
        # One iteration of the event loop later, so that requests that arrive together share a batch.
        if self._wake_up is None:
            self._wake_up = asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._wake_up = None
        self._deadlines.look_if_due()
        while self._queue and len(self._running) < self._in_flight:
            elsewhere = self._shared.elsewhere() if self._shared is not None else 0
            if self._running and len(self._running) + elsewhere >= self._in_flight:
                return  # dispatched again when a batch of this process comes back
            now = self._clock()
            self._budget.raise_if_due(now)
            most_bulk_tokens = self._courtesy.most_bulk_tokens(now, self._running)
            if most_bulk_tokens == 0 and not self._queue.small_tokens:
                return  # dispatched again when the next batch ends
            pause_s = self._forecast.seconds_to_spare(now, elsewhere)
            if pause_s > _SHORTEST_PAUSE_S:
                # The engine is busy until then; a batch formed later has more items.
                self._wake_up = asyncio.get_running_loop().call_later(pause_s, self._dispatch)
                return
            batch = self._take(most_bulk_tokens)
            if not batch.count:
                return  # all waiting items are held back until a batch ends
            batch = self._only_wanted(batch, now)
            if batch.count:
                self._send(batch, now)

    def _send(self, batch: Batch[BatchedRequest[P]], now: float) -> None:
        if not self._running:
            self._pace.begin(now)
        alone = self._engine.is_idle and not self._queue
        self._engine.begin()
        is_full = len(self._queue) > 0
        # In a context of its own: this one is that of any request.
        task = asyncio.create_task(self._run_batch(batch, alone=alone, is_full=is_full), context=Context())
        if is_full:
            self._pace.send_full(task, batch.tokens, now)
        self._running[task] = any(request.is_bulk for request, _, _ in batch.slices)
        self._forecast.begin(task, batch.tokens, now)
        if self._shared is not None:
            self._shared.begin()
        task.add_done_callback(self._finished)

    def _take(self, most_bulk_tokens: int | None = None) -> Batch[BatchedRequest[P]]:
        batch = self._queue.take(most_bulk_tokens)
        for request, places, length in batch.slices:
            request.waiting_items -= len(places)
            request.waiting_tokens -= length * len(places)
        return batch

    @staticmethod
    def _only_wanted(batch: Batch[BatchedRequest[P]], now: float) -> Batch[BatchedRequest[P]]:
        wanted = [taken for taken in batch.slices if taken[0].waiter is not None and taken[0].deadline > now]
        return batch if len(wanted) == len(batch.slices) else Batch.of(wanted)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task, None)
        self._engine.end()
        if self._shared is not None:
            self._shared.end()
        self._pace.take_back(task)
        self._forecast.end(task, self._clock())
        if self._wake_up is not None:
            self._wake_up.cancel()
        self._dispatch()

    async def _run_batch(self, batch: Batch[BatchedRequest[P]], *, alone: bool = False, is_full: bool = False) -> None:
        parts = [(request.payloads, places) for request, places, _ in batch.slices]
        sent_at = self._clock()
        try:
            async with asyncio.timeout(self._patience_s(batch)):
                run = self._run(parts, alone=alone)
                rows = await (run_followed(batch, run) if is_followed(batch) else run)
            if len(rows) != batch.count:
                raise InferenceError(f"The engine answered {len(rows)} rows for a batch of {batch.count}.")
            now = self._clock()
            self.statistics.count(batch.count, batch.tokens, self._queue.limits.padded(batch.longest))
            self._pace.end(batch.tokens, sent_at, now, is_full=is_full)
            end = 0
            for request, places, _ in batch.slices:
                start, end = end, end + len(places)
                if request.deadline <= now:
                    self._fail_late(request)
                elif request.fill(places, rows[start:end]):
                    self._answer(request)
        except EngineMemoryError as error:
            self._not_measured()
            self.statistics.memory_failures += 1
            if batch.count == 1:
                error.item = batch.slices[0][1][0]
                self._fail_all(batch, error)
            else:
                self._budget.lower(self._queue.limits.cost(batch.count, batch.tokens, batch.longest), self._clock())
                await self._run_parts(batch, -(-batch.count // 2))
        except (InferenceError, NotFiniteError) as error:
            self._not_measured()
            # One bad item must not fail the rest of its batch: run each item again alone.
            if batch.count == 1:
                error.item = batch.slices[0][1][0]
                self._fail_all(batch, error)
            else:
                await self._run_parts(batch, 1)
        except IngrainError as error:
            self._not_measured()
            self._fail_all(batch, error)
        except TimeoutError:
            self._not_measured()
            log.error("The engine has not returned a batch for %.0f s", self._clock() - sent_at)
            message = "The engine does not return a batch of this model."
            self._fail_all(batch, EngineUnavailableError(message, retry_after_s=_RETRY_AFTER_S))
        except BaseException:  # whatever ends this batch, its callers must not wait for ever
            self._not_measured()
            self._fail_all(batch, InferenceError(_FAILED))
            raise

    async def _run_parts(self, batch: Batch[BatchedRequest[P]], most_items: int) -> None:
        """Run a batch that has failed in parts, one after the other."""
        try:
            for part in batch.split(most_items):
                if (wanted := self._only_wanted(part, self._clock())).count:
                    await self._run_batch(wanted)
        except BaseException:  # whatever ends this batch, its callers must not wait for ever
            self._fail_all(batch, InferenceError(_FAILED))
            raise

    def _patience_s(self, batch: Batch[BatchedRequest[P]]) -> float | None:
        """Return the seconds after which a batch is given up; None before any batch has come back."""
        expected_s = max(self._pace.away_s, self._forecast.times.seconds(batch.tokens))
        return max(_LEAST_PATIENCE_S, _PATIENCE * expected_s) if expected_s else None

    def _not_measured(self) -> None:
        """Keep the time of a failed batch out of all estimates: an engine that hangs or is away is not slow."""
        self._pace.fail(self._clock())
        self._forecast.fail(asyncio.current_task())
