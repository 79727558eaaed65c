"""Answers items from a cache of rows, lets equal items wait for one computation, and queues the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np

from ingrain.batching.batcher import Batcher
from ingrain.batching.heads import HeadsQueue
from ingrain.batching.ragged import ragged
from ingrain.batching.request import Rows, Waiter, submit
from ingrain.batching.row_cache import RowCache, RowKey
from ingrain.errors import DeadlineExceededError, EngineError, IngrainError

P = TypeVar("P")


class CachedQueue(Generic[P]):
    """Puts a cache of rows before a batcher.

    An answer from the cache has the bits of the row that was computed first. A request with more items than one batch
    takes goes to the batcher as it is: its items rarely come again, and there are many of them.

    Args:
        batcher: Computes the rows.
        cache: Rows of all graphs of this process.
        key_of: Returns the key of an item from the number of this queue and the item.
        clock: Monotonic seconds.
    """

    looks_up_first = True

    def __init__(
        self,
        batcher: Batcher[P] | HeadsQueue,
        cache: RowCache,
        key_of: Callable[[int, P], RowKey],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.batcher = batcher
        self.clock = clock
        self.refuse_when_late = batcher.refuse_when_late
        self.computing: dict[RowKey, _Computation] = {}
        """The computations that other requests may wait for, by the keys of their items."""
        self._cache = cache
        self._key_of = key_of
        self._number = cache.new_number()
        self._row_shape: tuple[int, ...] = ()
        self._is_ragged = False
        self._is_closed = False

    async def submit(self, payloads: Sequence[P], *, timeout_s: float) -> Rows:
        """Compute the rows of one request; as ``Batcher.submit``."""
        return await submit(self, payloads, timeout_s=timeout_s)

    def put(
        self, payloads: Sequence[P], waiter: Waiter, *, timeout_s: float, is_let_in: bool = False
    ) -> Callable[[], None]:
        """Compute the rows of one request and pass them to a waiter; as ``Batcher.put``.

        The queue may refuse a request only if an item is neither in the cache nor being computed.
        """
        del is_let_in
        batcher = self.batcher
        if len(payloads) > batcher.limits.max_items:
            return batcher.put(payloads, waiter, timeout_s=timeout_s)
        number, key_of, get = self._number, self._key_of, self._cache.get
        keys = [key_of(number, payload) for payload in payloads]
        rows = [get(key) for key in keys]
        missing = rows.count(None)
        statistics = batcher.statistics
        if not missing:
            statistics.cache_hits += len(rows)
            return asyncio.get_running_loop().call_soon(waiter.done, self.array(rows)).cancel
        request = _Request(self, payloads, keys, rows, waiter, self.clock() + timeout_s, missing)
        request.begin(timeout_s)
        statistics.cache_hits += len(rows) - missing
        return request.cancel

    def is_small(self, payloads: Sequence[P]) -> bool:
        """Return whether others may wait for the items of a request.

        Not if it has several items that need several batches: it gives way to small requests, and would hold them up.
        """
        return len(payloads) == 1 or self.batcher.fits_one_batch(payloads)

    def keep(self, keys: Sequence[RowKey], rows: Rows) -> list[bytes]:
        """Put computed rows into the cache, and return their bytes."""
        self._is_ragged = rows.dtype == object
        self._row_shape = (-1, *rows[0].shape[1:]) if self._is_ragged else rows.shape[1:]
        # Copies, because a view of one row would keep the rows of its whole batch in memory.
        kept = [row.tobytes() for row in map(rows.__getitem__, range(len(rows)))]
        if not self._is_closed:
            for key, row in zip(keys, kept, strict=True):
                self._cache.put(key, row)
        return kept

    def array(self, rows: Sequence[bytes | None]) -> Rows:
        """Return ``float32 [N, …]``, not writable, or rows of different lengths, from the bytes of ``N`` rows."""
        if self._is_ragged:
            return ragged([np.frombuffer(row or b"", np.float32).reshape(self._row_shape) for row in rows])
        joined = b"".join(rows)  # type: ignore[arg-type]  # called when no row is missing
        return np.frombuffer(joined, np.float32).reshape(len(rows), *self._row_shape)

    def close(self) -> None:
        """Drop all rows, and keep no others."""
        self._is_closed = True
        self._cache.forget(self._number)


class _Computation(msgspec.Struct, eq=False):
    """Items of a request that the batcher computes; receives their rows.

    Attributes:
        request: The request.
        places: Place of each item in the request.
        cancel_batches: Cancels the computation in the batcher.
        followers: Other requests that wait for an item: its key, the request, and its place there.
    """

    request: _Request
    places: list[int]
    cancel_batches: Callable[[], None]
    followers: list[tuple[RowKey, _Request, int]] = []

    def done(self, computed: Rows) -> None:
        request = self.request
        queue, keys = request.queue, [request.keys[place] for place in self.places]
        kept = queue.keep(keys, computed)
        self._release(keys)
        followers, self.followers = self.followers, []
        if followers:
            by_key, loop = dict(zip(keys, kept, strict=True)), asyncio.get_running_loop()
            for key, follower, place in followers:
                loop.call_soon(follower.take, [place], [by_key[key]])
        request.take(self.places, kept, computed)

    def failed(self, error: IngrainError) -> None:
        """Fail the request; those that wait for an item compute it themselves, in the time that they have left."""
        self._release([self.request.keys[place] for place in self.places])
        followers, self.followers = self.followers, []
        for _, follower, place in followers:
            asyncio.get_running_loop().call_soon(follower.compute_alone, place)
        if isinstance(error, EngineError) and error.item is not None:
            error.item = self.places[error.item]
        self.request.fail(error)

    def cancel(self) -> None:
        """Cancel the computation, unless other requests wait for an item."""
        if not self.followers:
            self._release([self.request.keys[place] for place in self.places])
            self.cancel_batches()

    def _release(self, keys: Sequence[RowKey]) -> None:
        computing = self.request.queue.computing
        for key in keys:
            if computing.get(key) is self:
                del computing[key]


class _Request(msgspec.Struct, eq=False):
    """A request with items that are not in the cache.

    Attributes:
        queue: The queue.
        payloads: The items.
        keys: Key of each item.
        rows: Row of each item, as far as they are known.
        waiter: Gets the result; None after it was called or cancelled.
        deadline: End of the timeout by the queue's clock.
        missing: Number of missing rows.
        computations: The computations of this request, running or done; empty once the waiter was called.
    """

    queue: CachedQueue[Any]
    payloads: Sequence[Any]
    keys: list[RowKey]
    rows: list[bytes | None]
    waiter: Waiter | None
    deadline: float
    missing: int
    computations: list[_Computation] = []

    def begin(self, timeout_s: float) -> None:
        """Wait for items that another request computes, and compute the others.

        A computation that may end after this request's deadline is not waited for, so that no timer is needed.

        Raises:
            IngrainError: As ``Batcher.put``.
        """
        queue = self.queue
        computing, statistics = queue.computing, queue.batcher.statistics
        led, joined = [], []
        for place, row in enumerate(self.rows):
            if row is None:
                other = computing.get(self.keys[place])
                if other is not None and other.request.deadline <= self.deadline:
                    joined.append((other, place))
                else:
                    led.append(place)
        if led:
            own = self._compute(led, timeout_s)
            if queue.is_small(self.payloads):
                for place in led:
                    computing.setdefault(self.keys[place], own)
        for other, place in joined:
            other.followers.append((self.keys[place], self, place))
        statistics.cache_misses += len(led)
        statistics.cache_joins += len(joined)

    def compute_alone(self, place: int) -> None:
        """Compute an item whose computation by another request has failed."""
        if self.waiter is None:
            return
        try:
            left_s = self.deadline - self.queue.clock()
            if left_s <= 0:
                raise DeadlineExceededError("The request was not finished within its time.")
            self._compute([place], left_s)
        except IngrainError as error:
            self.fail(error)

    def _compute(self, places: list[int], timeout_s: float) -> _Computation:
        own = _Computation(self, places, _nothing)
        payloads = self.payloads
        chosen = payloads if len(places) == len(payloads) else [payloads[place] for place in places]
        own.cancel_batches = self.queue.batcher.put(chosen, own, timeout_s=timeout_s)
        self.computations.append(own)
        return own

    def take(self, places: Sequence[int], rows: Sequence[bytes], computed: Rows | None = None) -> None:
        """Take rows, and pass all rows to the waiter if none is missing.

        Args:
            places: Place of each row in the request.
            rows: The rows.
            computed: The same rows as an array, if there is one.
        """
        for place, row in zip(places, rows, strict=True):
            self.rows[place] = row
        self.missing -= len(places)
        if self.missing or self.waiter is None:
            return
        waiter, self.waiter = self.waiter, None
        self.computations = []  # breaks the reference cycle
        waiter.done(computed if computed is not None and len(places) == len(self.rows) else self.queue.array(self.rows))

    def cancel(self) -> None:
        """Cancel the request; the waiter is not called."""
        self.waiter = None
        computations, self.computations = self.computations, []
        for computation in computations:
            computation.cancel()

    def fail(self, error: IngrainError) -> None:
        """Pass an error to the waiter."""
        waiter = self.waiter
        self.cancel()
        if waiter is not None:
            waiter.failed(error)


def _nothing() -> None: ...
