"""Queues slices of requests and chooses those of the next batch; a plain data structure without clock or event loop."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec

from ingrain.batching.few_lengths import few_length

T = TypeVar("T")

_MOST_UNWANTED = 1024
# Share of a token's time that padding takes where only attention runs on it. Measured with all-MiniLM-L6-v2: 0.06 in
# texts of 8 to 32 tokens, 0.07 at 64, 0.12 at 128 and 0.17 at 256, copies included. Wider models have less.
_PADDING_COST, _PADDING_COST_A_TOKEN = 0.06, 1 / 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """Limits of batch size and padding.

    Attributes:
        max_items: Largest number of items.
        max_tokens: Largest cost of a batch, in tokens; a longer single item still gets a batch of its own.
        overhead_tokens: Time that a batch takes whatever its size, as the number of tokens that take as long: on a CPU
            reading the weights, on a GPU also computing on cores that would be idle. Items of other lengths join a
            batch as long as its time per token, overhead included and padding excluded, becomes shorter; with
            ``packs_tokens`` as long as padding takes no longer than the overhead of another batch.
        equal_lengths_only: True if a vector depends on the padding in its batch.
        packs_tokens: True if only attention runs on padding, so that a padded place takes a small part of the time that
            a token takes.
        few_lengths_to: Pad batches to one of few lengths, of at most so many tokens, so that Triton can merge batches
            of several front ends; None to pad to the longest item.
    """

    max_items: int = 32
    max_tokens: int = 4096
    overhead_tokens: int = 8
    equal_lengths_only: bool = False
    packs_tokens: bool = False
    few_lengths_to: int | None = None

    def padded(self, longest: int) -> int:
        """Return the padded length of a batch, from the length of its longest item."""
        return longest if self.few_lengths_to is None else few_length(longest, self.few_lengths_to)

    def cost(self, count: int, tokens: int, longest: int) -> float:
        """Return the number of tokens that take as long as a batch, ``overhead_tokens`` left out.

        Args:
            count: Number of items.
            tokens: Tokens of all items, without padding.
            longest: Tokens of the longest item.
        """
        padded = count * (longest if self.few_lengths_to is None else self.padded(longest))
        if not self.packs_tokens:
            return padded
        return tokens + (padded - tokens) * (_PADDING_COST + _PADDING_COST_A_TOKEN * longest)


Slice = tuple[T, Sequence[int], int]
"""Items of one request that have the same length: the request, the places of the items in it, and the length."""

_Waiting = tuple[int, int, T, Sequence[int]]
"""A slice in the queue: the turn of its first item, its unique number, its request and its places.

A plain tuple is fast to compare in heaps, and four times faster to create than a named one. The numbers are unique, so
requests are never compared.
"""


@dataclass(slots=True)
class _Kind(Generic[T]):
    """The waiting items of small requests, or those of bulk requests, in a heap for each length."""

    by_length: dict[int, list[_Waiting[T]]] = field(default_factory=dict)
    size: int = 0
    tokens: int = 0

    def first(self) -> tuple[int, int] | None:
        """Return the length and the turn of the item with the smallest turn."""
        if not self.by_length:
            return None
        length = min(self.by_length, key=lambda length: self.by_length[length][0])
        return length, self.by_length[length][0][0]

    def pop(self, length: int, most: int | None = None) -> Slice[T]:
        """Remove the first slice of a length, or its first ``most`` items; ``tokens`` still counts their tokens."""
        waiting = self.by_length[length]
        turn, number, request, places = heapq.heappop(waiting)
        if most is not None and most < len(places):
            heapq.heappush(waiting, (turn + most * length, number, request, places[most:]))
            places = places[:most]
        elif not waiting:
            del self.by_length[length]
        self.size -= len(places)
        return request, places, length

    def nearest(self, length: int) -> Iterator[int]:
        """Yield the lengths of the waiting items, those nearest to ``length`` first."""
        if length in self.by_length:
            yield length  # before sorting: often its items fill the batch
        yield from sorted(self.by_length.keys() - {length}, key=lambda other: (abs(other - length), other))

    def compact(self, is_wanted: Callable[[T], bool]) -> None:
        """Keep only the wanted items."""
        kept = {length: [item for item in items if is_wanted(item[2])] for length, items in self.by_length.items()}
        self.by_length = {length: items for length, items in kept.items() if items}
        for items in self.by_length.values():
            heapq.heapify(items)
        self.size = sum(len(places) for items in self.by_length.values() for _, _, _, places in items)


class Batch(msgspec.Struct, Generic[T], eq=False):
    """Slices that are computed together.

    Attributes:
        slices: The slices.
        count: Number of items.
        tokens: Tokens of all items, without padding.
        longest: Tokens of the longest item.
    """

    slices: list[Slice[T]] = []
    count: int = 0
    tokens: int = 0
    longest: int = 0

    @classmethod
    def of(cls, slices: Iterable[Slice[T]]) -> Batch[T]:
        """Return a batch of these slices."""
        batch: Batch[T] = Batch()
        for taken in slices:
            batch.add(taken)
        return batch

    def add(self, taken: Slice[T]) -> None:
        """Add a slice."""
        _, places, length = taken
        self.slices.append(taken)
        self.count += len(places)
        self.tokens += length * len(places)
        if length > self.longest:
            self.longest = length

    def split(self, most_items: int) -> list[Batch[T]]:
        """Return batches of at most so many of the items, those of similar length together."""
        items: list[Slice[T]] = [
            (request, [place], length) for request, places, length in self.slices for place in places
        ]
        items.sort(key=lambda item: item[2])
        return [Batch.of(items[start : start + most_items]) for start in range(0, len(items), most_items)]


class _Filling(Batch[T], Generic[T], kw_only=True):
    """A batch that is being filled."""

    limits: BatchLimits

    def room(self, length: int, waiting: int, most_tokens: int | None) -> int:
        """Return how many of ``waiting`` items of this length may join the batch."""
        if length == self.longest or not self.count:  # a batch never becomes slower by the token through these
            limits = self.limits
            used = limits.cost(self.count, self.tokens, length)
            left = min(limits.max_tokens, most_tokens or limits.max_tokens) - used
            most = int(left // limits.cost(1, length, length))
            return max(0, min(waiting, most, limits.max_items - self.count))
        joined = 0
        while joined < waiting and self.fits(length, most_tokens, joined):
            joined += 1
        return joined

    def fits(self, length: int, most_tokens: int | None, joined: int = 0) -> bool:
        """Return True if an item of this length may join the batch, after ``joined`` others of the same length."""
        limits, count, tokens, longest = self.limits, self.count, self.tokens, self.longest
        if joined:
            count, tokens, longest = count + joined, tokens + joined * length, max(longest, length)
        if count >= limits.max_items:
            return False
        cost = limits.cost(count + 1, tokens + length, longest if longest > length else length)
        if cost > limits.max_tokens or (most_tokens and cost > most_tokens):
            return False
        # The time of a batch is proportional to `overhead + cost`.
        overhead = limits.overhead_tokens
        if limits.packs_tokens:  # padding may take as long as another batch would take more
            return cost - (tokens + length) <= overhead
        before = limits.cost(count, tokens, longest)
        return (tokens + length) * (overhead + before) >= tokens * (overhead + cost)


def places_by_length(lengths: Sequence[int]) -> dict[int, list[int]]:
    """Group the items of a request, given by their lengths in tokens; an item without tokens counts as one token."""
    if len(lengths) == 1:
        return {lengths[0] or 1: [0]}
    places: dict[int, list[int]] = {}
    for place, length in enumerate(lengths):
        places.setdefault(length or 1, []).append(place)
    return places


class BatchQueue(Generic[T]):
    """Queues items by length and forms batches of similar length, fair between requests.

    Each item has a *turn*: the queue's token clock when its request arrived, plus the tokens of the items of the same
    request that go before it (start-time fair queueing: Goyal, Vin and Cheng 1996). The item with the smallest turn is
    always in the next batch. So a request of one item waits behind about one item of a request of ten thousand, and no
    request waits for ever. Items of the nearest lengths then fill the batch as far as the limits allow.

    The items of a request that have the same length wait as one *slice*, in which the turns follow each other. A batch
    takes as much of a slice as it has room for, so its slices may overtake others by the items of one batch.

    Items of small and of bulk requests are kept apart. Of equal turns the small request's item goes first, bulk items
    fill the room that small ones leave in a batch, and ``take`` can hold bulk items back.

    Args:
        limits: Limits of batch size and padding.
        is_wanted: Returns False for a request that was passed to ``forget``.
    """

    def __init__(self, limits: BatchLimits, *, is_wanted: Callable[[T], bool] = lambda _: True) -> None:
        self.limits = limits
        self._is_wanted = is_wanted
        self._unwanted = 0
        self._clock = 0
        self._number = 0
        self._small: _Kind[T] = _Kind()
        self._bulk: _Kind[T] = _Kind()

    def __len__(self) -> int:
        return self._small.size + self._bulk.size - self._unwanted

    @property
    def tokens(self) -> int:
        """Waiting tokens."""
        return self._small.tokens + self._bulk.tokens

    @property
    def small_tokens(self) -> int:
        """Waiting tokens of small requests."""
        return self._small.tokens

    def add(self, request: T, by_length: Mapping[int, Sequence[int]], *, is_bulk: bool = False) -> None:
        """Queue the items of one request.

        Args:
            request: The request.
            by_length: The places of its items, see ``places_by_length``.
            is_bulk: True for a bulk request.
        """
        kind, turn = self._bulk if is_bulk else self._small, self._clock
        for length, places in by_length.items():
            self._number += 1
            heapq.heappush(kind.by_length.setdefault(length, []), (turn, self._number, request, places))
            tokens = length * len(places)
            turn += tokens
            kind.tokens += tokens
            kind.size += len(places)

    def next_bulk_tokens(self) -> int:
        """Return the length of the bulk item whose turn is next; 0 if none waits."""
        self._drop_unwanted_heads(self._bulk)
        first = self._bulk.first()
        return 0 if first is None else first[0]

    def take(self, most_bulk_tokens: int | None = None) -> Batch[T]:
        """Remove and return the next batch; empty if nothing waits or all waiting items are held back.

        Args:
            most_bulk_tokens: Token limit, padding included, of a batch with items of bulk requests. Longer bulk items
                are held back; with 0 all of them. None for no such limit.
        """
        anchored = self._anchor(most_bulk_tokens)
        batch: _Filling[T] = _Filling(limits=self.limits)
        if anchored is None:
            return batch
        kind, anchor, turn = anchored
        # Advance the clock with every batch; otherwise new requests would always get the smallest turn.
        self._clock = max(self._clock, turn) + anchor
        # The item with the smallest turn joins even if it is too long; small items join before others of a bulk slice.
        items = len(kind.by_length[anchor][0][3])
        if items > 1:
            most_tokens = most_bulk_tokens if kind is self._bulk else None
            is_alone = kind is self._bulk and self._small.size > 0
            items = 1 if is_alone else max(1, batch.room(anchor, items, most_tokens))
        self._move(kind, anchor, batch, items)
        kinds = [(self._small, None), (self._bulk, most_bulk_tokens)]
        for kind, most_tokens in kinds if most_bulk_tokens != 0 else kinds[:1]:
            for length in kind.nearest(anchor):
                if batch.count == self.limits.max_items or (self.limits.equal_lengths_only and length != anchor):
                    break
                while waiting := kind.by_length.get(length):
                    items = len(waiting[0][3])
                    room = batch.fits(length, most_tokens) if items == 1 else batch.room(length, items, most_tokens)
                    if not room:
                        break
                    self._move(kind, length, batch, room)
        return batch

    def forget(self, items: int, tokens: int, *, is_bulk: bool = False) -> None:
        """Discount waiting items of a request for which ``is_wanted`` returns False from now on.

        The items are removed later: when their turn comes, or when they outnumber the others. Searching the whole queue
        for each of them now would be slow.
        """
        kind = self._bulk if is_bulk else self._small
        kind.tokens -= tokens
        self._unwanted += items
        if self._unwanted > _MOST_UNWANTED and self._unwanted > len(self):
            self._small.compact(self._is_wanted)
            self._bulk.compact(self._is_wanted)
            self._unwanted = 0

    def _anchor(self, most_bulk_tokens: int | None) -> tuple[_Kind[T], int, int] | None:
        """Return the kind, length and turn of the item that the next batch must contain."""
        self._drop_unwanted_heads(self._small)
        self._drop_unwanted_heads(self._bulk)
        small, bulk = self._small.first(), self._bulk.first()
        if bulk is not None and most_bulk_tokens is not None and bulk[0] > most_bulk_tokens:
            bulk = None
        if bulk is not None and (small is None or bulk[1] < small[1]):
            return self._bulk, *bulk
        return None if small is None else (self._small, *small)

    def _move(self, kind: _Kind[T], length: int, batch: Batch[T], most: int) -> None:
        taken = kind.pop(length, most)
        batch.add(taken)
        kind.tokens -= length * len(taken[1])
        if self._unwanted:
            self._drop_unwanted_head(kind, length)

    def _drop_unwanted_heads(self, kind: _Kind[T]) -> None:
        if not self._unwanted:
            return
        for length in list(kind.by_length):
            self._drop_unwanted_head(kind, length)

    def _drop_unwanted_head(self, kind: _Kind[T], length: int) -> None:
        while self._unwanted and length in kind.by_length and not self._is_wanted(kind.by_length[length][0][2]):
            _, places, _ = kind.pop(length)
            self._unwanted -= len(places)
