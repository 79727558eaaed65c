"""One request in a batcher: its items, the rows computed so far, and the waiter for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from ingrain.errors import IngrainError

P = TypeVar("P")
Rows = NDArray[np.float32]


class Waiter(Protocol):
    """Gets the rows of one request. The batcher calls exactly one of the methods, once; neither may raise."""

    def done(self, rows: Rows) -> None:
        """Handle the rows, ``float32 [N, …]``, in the order of the payloads."""

    def failed(self, error: IngrainError) -> None:
        """Handle the error of the request."""


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
