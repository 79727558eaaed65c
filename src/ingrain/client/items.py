"""Split the texts or images of a call into groups, one per request, from any kind of iterable."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np

from ingrain.errors import ImageError, InvalidRequestError

I_co = TypeVar("I_co", covariant=True)
I = TypeVar("I")  # noqa: E741 - an item
J = TypeVar("J")

Items: TypeAlias = "Iterable[I] | AsyncIterable[I]"

# Missing values that are no float. They are found by class name, because `NA != NA` has no truth value.
_MISSING = ("NAType", "NaTType", "MaskedConstant")


@dataclass(frozen=True, slots=True)
class Group(Generic[I_co]):
    """Items of one request, with their indices in the caller's list."""

    items: list[I_co]
    places: Sequence[int]


Groups: TypeAlias = "Iterator[Group[I]] | AsyncIterator[Group[I]]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut(Generic[J]):
    """How items are split into requests.

    Attributes:
        field: ``text`` or ``image``, for errors.
        read: Checks and converts an item; gets the item and its path (``text[3]``).
        weigh: Returns an item's weight.
        most: Largest number of items in a request.
        heaviest: Largest weight of a request with several items.
        skip_none: True to skip missing items, False to refuse them.
    """

    field: str
    read: Callable[[Any, str], J]
    weigh: Callable[[J], int]
    most: int
    heaviest: int
    skip_none: bool = False


def check_container(given: Any, field: str) -> Items[Any]:
    """Return the argument after checking that it is an ordered iterable of items.

    Tables and dictionaries are refused, because iterating them yields column names and keys.

    Raises:
        InvalidRequestError: The argument is something else; the message says what to give instead.
    """
    if isinstance(given, Mapping):
        raise refusal(field, given, f"give the texts or pictures alone: list({field}.values())")
    if isinstance(given, set | frozenset):
        raise refusal(field, given, f"it has no order that answers could be in; give sorted({field})")
    if hasattr(given, "columns") or hasattr(given, "column_names"):
        raise refusal(field, given, f'give one column of it: table["{field}"]')
    shape = getattr(given, "shape", None)
    if isinstance(shape, tuple) and len(shape) != 1:
        raise refusal(field, given, f"it has {len(shape)} dimensions, not one; give one column of it")
    if isinstance(given, AsyncIterable):
        return given
    try:
        iter(given)
    except TypeError:
        raise refusal(field, given, f"give one {field} or a list of them") from None
    return given  # type: ignore[no-any-return]


def groups(items: Items[Any], cut: Cut[J]) -> Groups[J]:
    """Split items into groups; the result is asynchronous if the items are."""
    cutter = _Cutter(cut)
    return _async_groups(items, cutter) if isinstance(items, AsyncIterable) else _groups(items, cutter)


def _groups(items: Iterable[Any], cutter: _Cutter[J]) -> Iterator[Group[J]]:
    for item in items:
        yield from cutter.take(item)
    yield from cutter.rest()


async def _async_groups(items: AsyncIterable[Any], cutter: _Cutter[J]) -> AsyncIterator[Group[J]]:
    async for item in items:
        for group in cutter.take(item):
            yield group
    for group in cutter.rest():
        yield group


class _Cutter(Generic[J]):
    """Collects items and yields groups when they are full."""

    def __init__(self, cut: Cut[J]) -> None:
        self._cut = cut
        self._next_place = 0
        self._items: list[J] = []
        self._places: list[int] = []
        self._weight = 0

    def take(self, item: object) -> Iterator[Group[J]]:
        """Add the next item, and yield the groups that are full."""
        cut, place = self._cut, self._next_place
        self._next_place += 1
        if hasattr(item, "as_py"):
            item = item.as_py()  # a scalar of Arrow
        at = f"{cut.field}[{place}]"
        if is_missing(item):
            if cut.skip_none:
                return
            raise _error(cut.field)(f"{at} is missing ({item!r}); give skip_none=True to skip missing items.", param=at)
        taken = cut.read(item, at)
        weight = cut.weigh(taken)
        if self._items and self._weight + weight > cut.heaviest:
            yield from self.rest()
        self._items.append(taken)
        self._places.append(place)
        self._weight += weight
        if len(self._items) == cut.most:
            yield from self.rest()

    def rest(self) -> Iterator[Group[J]]:
        """Yield the unfinished group, if any."""
        if self._items:
            first, end = self._places[0], self._places[-1] + 1
            is_gapless = end - first == len(self._items)
            yield Group(self._items, range(first, end) if is_gapless else self._places)
            self._items, self._places, self._weight = [], [], 0


def is_missing(item: object) -> bool:
    """Return True for a missing value: None, NaN or pandas' NA."""
    if item is None or type(item).__name__ in _MISSING:
        return True
    return isinstance(item, float | np.floating) and bool(np.isnan(item))


def refusal(field: str, given: object, advice: str) -> InvalidRequestError:
    """Return the error for an argument that is no ordered iterable; ``advice`` says what to give instead."""
    kind = type(given).__name__
    what = "texts" if field == "text" else "pictures"
    return _error(field)(f"{field} is {article(kind)} {kind}, not a list of {what}: {advice}.", param=field)


def _error(field: str) -> type[InvalidRequestError]:
    return InvalidRequestError if field == "text" else ImageError


def article(word: str) -> str:
    """Return the indefinite article of a word."""
    return "an" if word[:1].lower() in "aeiou" else "a"
