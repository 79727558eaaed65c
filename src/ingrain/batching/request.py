"""One request in a queue: how it is put there, its items, the rows computed so far, and the waiter for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from ingrain.errors import IngrainError
from ingrain.timeline import Timeline

P = TypeVar("P")
Payload = TypeVar("Payload", contravariant=True)
Rows = NDArray[np.float32]


class BatchRows(Protocol):
    """The rows of a batch: an array, or what gives one for each of the batch's parts."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def __getitem__(self, part: slice, /) -> Rows:
        """Return the rows of a part, from its first row to its last."""


class RunBatch(Protocol[Payload]):
    """Runs one batch in the engine."""

    async def __call__(self, parts: Sequence[tuple[Sequence[Payload], Sequence[int]]], *, alone: bool) -> BatchRows:
        """Return the rows of a batch, ``float32 [B, …]``, in the order of its items.

        Args:
            parts: ``B`` items, in parts of equal length: the payloads of a request, and the places of the items.
            alone: True if no other batch is in the engine or waits for it.
        """
        ...


class Waiter(Protocol):
    """Gets the rows of one request. The batcher calls exactly one of the methods, once; neither may raise."""

    def done(self, rows: Rows) -> None:
        """Handle the rows, ``float32 [N, …]``, in the order of the payloads."""

    def failed(self, error: IngrainError) -> None:
        """Handle the error of the request."""


class Queue(Protocol[Payload]):
    """Takes the items of requests for one graph; see ``Batcher``, whose methods these are."""

    @property
    def looks_up_first(self) -> bool:
        """True if some requests never wait in the queue, so that only ``put`` knows which ones to refuse."""

    @property
    def refuse_when_late(self) -> Callable[[int, float], None]:
        """Refuses a request of some items if the queue before it takes too long for its timeout in seconds."""

    def put(
        self, payloads: Sequence[Payload], waiter: Waiter, *, timeout_s: float, is_let_in: bool = False
    ) -> Callable[[], None]:
        """Compute the rows of one request and pass them to a waiter."""
        ...

    async def submit(self, payloads: Sequence[Payload], *, timeout_s: float) -> Rows:
        """Compute the rows of one request."""
        ...


async def submit(queue: Queue[P], payloads: Sequence[P], *, timeout_s: float) -> Rows:
    """Put a request into a queue and return its rows; cancel it there if the caller is cancelled."""
    future: asyncio.Future[Rows] = asyncio.get_running_loop().create_future()
    cancel = queue.put(payloads, FutureWaiter(future), timeout_s=timeout_s)
    try:
        return await future
    except asyncio.CancelledError:
        cancel()
        raise
    finally:
        # The error's traceback references this frame; break the reference cycle through the future.
        del future, cancel


class FutureWaiter:
    """Resolves a future."""

    __slots__ = ("future",)

    def __init__(self, future: asyncio.Future[Rows]) -> None:
        self.future = future

    def done(self, rows: Rows) -> None:
        """Set the future's result."""
        if not self.future.done():
            self.future.set_result(rows)

    def failed(self, error: IngrainError) -> None:
        """Set the future's exception."""
        if not self.future.done():
            self.future.set_exception(error)


class BatchedRequest(msgspec.Struct, Generic[P], eq=False):
    """A request whose rows are not complete yet.

    Attributes:
        payloads: The items.
        waiter: Gets the result; None after it was called or cancelled.
        timeout_s: Timeout in seconds.
        deadline: End of the timeout by the batcher's clock.
        missing: Items without rows.
        is_bulk: True if the request does not fit into a single batch.
        waiting_items: Items that wait for a batch.
        waiting_tokens: Tokens of the waiting items.
        is_forgotten: True once the queue's ``forget`` was called for the request.
        rows: ``float32 [N, …]``, filled as batches come back.
        timeline: Timeline of the request; None if nobody wants to know.
        put_at: Time at which the request was put into the queue, by ``time.perf_counter``, if it has a timeline.
    """

    payloads: Sequence[P]
    waiter: Waiter | None
    timeout_s: float
    deadline: float
    missing: int
    is_bulk: bool
    waiting_items: int = 0
    waiting_tokens: int = 0
    is_forgotten: bool = False
    rows: Rows | None = None
    timeline: Timeline | None = None
    put_at: float = 0.0

    def take_waiter(self) -> Waiter | None:
        """Remove and return the waiter, if it was not called yet; a traceback may keep the request alive for long."""
        waiter, self.waiter = self.waiter, None
        return waiter

    def fill(self, places: Sequence[int], rows: Rows) -> bool:
        """Store the rows of some items, ``float32 [B, …]``; return True if the request is complete now."""
        if len(self.payloads) == 1:
            self.rows = rows
        else:
            if self.rows is None:
                self.rows = np.empty((len(self.payloads), *rows.shape[1:]), rows.dtype)
            self.rows[places] = rows
        self.missing -= len(places)
        return not self.missing
