"""Which of the waiting items go into the next batch: a pure policy, no clock and no event loop."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

_MOST_UNWANTED = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """How large and how uneven a batch may be.

    Attributes:
        max_items: Most items.
        max_tokens: Most tokens, padding included; an item that is longer alone still gets a batch of its own.
        max_padding: Largest share of padding in the padded tokens.
        free_padding_tokens: Difference in length that is always accepted, so that very short texts share batches.
        enough_items: From this many items on, more are taken only where they cost no padding. On a CPU eight items
            reach its full throughput, and from there on each token of padding only costs time.
        equal_lengths_only: True where a vector depends on the padding beside it.
    """

    max_items: int = 32
    max_tokens: int = 4096
    max_padding: float = 0.10
    free_padding_tokens: int = 1
    enough_items: int = 32
    equal_lengths_only: bool = False


@dataclass(slots=True)
class _Waiting(Generic[T]):
    """An item in the queue; ordered by ``turn``, then by arrival."""

    turn: int
    number: int
    payload: T

    def __lt__(self, other: _Waiting[T]) -> bool:
        return (self.turn, self.number) < (other.turn, other.number)


class BatchQueue(Generic[T]):
    """Holds items by length and hands out batches of similar length, fair between requests.

    Each item has a *turn*: the queue's own token clock when its request came, plus the tokens of the same request that
    go before it (start-time fair queueing: Goyal, Vin and Cheng 1996). The item with the smallest turn is always in the
    next batch, so a request of one item waits behind about one item of a request of ten thousand, and nobody is
    overtaken for ever. Items of the nearest lengths then fill the batch as far as the limits allow.

    Args:
        limits: How large and uneven a batch may be.
        is_wanted: Tells whether a payload still is; false only for what ``forget`` was told of.
    """

    def __init__(self, limits: BatchLimits, *, is_wanted: Callable[[T], bool] = lambda _: True) -> None:
        self.limits = limits
        self.tokens = 0
        self._is_wanted = is_wanted
        self._size = 0
        self._unwanted = 0
        self._clock = 0
        self._number = 0
        self._by_length: dict[int, list[_Waiting[T]]] = {}

    def __len__(self) -> int:
        return self._size - self._unwanted

    def add(self, request: Iterable[tuple[T, int]]) -> None:
        """Queue the items of one request.

        Args:
            request: Pairs of payload and length in tokens, at least 1.
        """
        turn = self._clock
        for payload, length in request:
            self._number += 1
            heapq.heappush(self._by_length.setdefault(length, []), _Waiting(turn, self._number, payload))
            turn += length
            self.tokens += length
            self._size += 1

    def take(self) -> list[T]:
        """Remove and return the next batch; empty if nothing waits."""
        self._drop_unwanted_heads()
        if not self._by_length:
            return []
        anchor = min(self._by_length, key=lambda length: self._by_length[length][0])
        # The clock moves with every batch, or requests that keep coming would hold it still and wait before nobody.
        self._clock = max(self._clock, self._by_length[anchor][0].turn) + anchor
        batch: list[T] = []
        real = longest = 0
        for length in self._nearest(anchor):
            waiting = self._by_length[length]
            while waiting and self._fits(len(batch), real, longest, length):
                longest = max(longest, length)
                real += length
                batch.append(self._pop(waiting))
                self._drop_unwanted_head(waiting)
            if not waiting:
                del self._by_length[length]
            if len(batch) >= self.limits.max_items or self.limits.equal_lengths_only:
                break
        self.tokens -= real
        return batch

    def forget(self, items: int, tokens: int) -> None:
        """Take note that items which wait are no longer wanted, as ``is_wanted`` tells from now on.

        They stop counting at once, and are taken out when their turn comes or when they are more than the others: to
        look for each of them now would cost as much as the whole queue is long.
        """
        self.tokens -= tokens
        self._unwanted += items
        if self._unwanted > _MOST_UNWANTED and 2 * self._unwanted > self._size:
            self._compact()

    def _compact(self) -> None:
        for length, waiting in list(self._by_length.items()):
            kept = [item for item in waiting if self._is_wanted(item.payload)]
            if kept:
                heapq.heapify(kept)
                self._by_length[length] = kept
            else:
                del self._by_length[length]
        self._size, self._unwanted = sum(map(len, self._by_length.values())), 0

    def _drop_unwanted_heads(self) -> None:
        for length, waiting in list(self._by_length.items()):
            self._drop_unwanted_head(waiting)
            if not waiting:
                del self._by_length[length]

    def _drop_unwanted_head(self, waiting: list[_Waiting[T]]) -> None:
        while self._unwanted and waiting and not self._is_wanted(waiting[0].payload):
            self._pop(waiting)
            self._unwanted -= 1

    def _pop(self, waiting: list[_Waiting[T]]) -> T:
        self._size -= 1
        return heapq.heappop(waiting).payload

    def _nearest(self, anchor: int) -> list[int]:
        return sorted(self._by_length, key=lambda length: (abs(length - anchor), length))

    def _fits(self, count: int, real: int, longest: int, length: int) -> bool:
        if count == 0:
            return True
        if count >= self.limits.enough_items and length != longest:
            return False
        padded = (count + 1) * max(longest, length)
        if count >= self.limits.max_items or padded > self.limits.max_tokens:
            return False
        padding = padded - real - length
        return padding <= self.limits.max_padding * padded or padding <= self.limits.free_padding_tokens * (count + 1)
