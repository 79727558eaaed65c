"""One request in a batcher: its items, its rows as far as they have come, and who waits for them."""

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
    """Waits for the rows of one request. Exactly one of the two is called, once, and raises nothing."""

    def done(self, rows: Rows) -> None:
        """Take the rows, ``float32 [N, …]``, in the order of the payloads."""

    def failed(self, error: IngrainError) -> None:
        """Take note why there are none."""


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
    """The items of one request that still miss their rows.

    Attributes:
        payloads: The items.
        lengths: Tokens of each.
        waiter: Who waits; None once it was answered, or has gone.
        timeout_s: Seconds that it has.
        deadline: When they are over, by the batcher's clock.
        missing: Items without rows.
        is_bulk: Whether no single batch holds it.
        waiting_items: Items that wait for a batch.
        waiting_tokens: Their tokens.
        is_forgotten: Whether the queue was told that nobody wants it.
        rows: ``float32 [N, …]``, filled as batches come back.
    """

    payloads: Sequence[P]
    lengths: Sequence[int]
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
        """Return the waiter, if it is still to be called, and drop it: a traceback may hold the request for long."""
        waiter, self.waiter = self.waiter, None
        return waiter

    def fill(self, index: int, row: Rows) -> bool:
        """Store an item's row, ``float32 [1, …]``; return whether it was the last that was missing."""
        if len(self.payloads) == 1:
            self.rows = row
        else:
            if self.rows is None:
                self.rows = np.empty((len(self.payloads), *row.shape[1:]), row.dtype)
            self.rows[index] = row[0]
        self.missing -= 1
        return not self.missing
