"""Receives texts or pictures in whatever the caller has them in, hands on groups of them, each with its place there."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np

from ingrain.errors import ImageError, InvalidRequestError

I_co = TypeVar("I_co", covariant=True)
I = TypeVar("I")  # noqa: E741 - an item
J = TypeVar("J")

Texts: TypeAlias = "str | Iterable[str]"
"""One text or several: a list, a column of a table (pandas, polars, Arrow, numpy, datasets), a generator."""
AsyncTexts: TypeAlias = "Texts | AsyncIterable[str]"
"""One text or several, as in ``Texts``, or an asynchronous generator."""
Items: TypeAlias = "Iterable[I] | AsyncIterable[I]"

# One long text weighs as much as many short ones; a request of this many characters is work enough.
_MOST_CHARS = 200_000
# Those of pandas that are no float; `NA != NA` has no truth value, so that they are known by their names.
_MISSING = ("NAType", "NaTType", "MaskedConstant")


@dataclass(frozen=True, slots=True)
class Group(Generic[I_co]):
    """Items of one request, and the place that each has in what the caller gave."""

    items: list[I_co]
    places: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut(Generic[J]):
    """How items are cut into requests.

    Attributes:
        field: ``text`` or ``image``, for errors.
        read: Makes what is sent, or kept to be encoded, of an item and its path (``text[3]``); raises for what is none.
        weigh: Tells what an item weighs.
        most: Most items of a request.
        heaviest: Most weight of a request of several.
        skip_none: True to leave out what is missing, instead of refusing it.
    """

    field: str
    read: Callable[[Any, str], J]
    weigh: Callable[[J], int]
    most: int
    heaviest: int
    skip_none: bool = False


def text_cut(most: int, *, skip_none: bool) -> Cut[str]:
    """Return how texts are cut into requests."""
    return Cut(field="text", read=_read_text, weigh=len, most=most, heaviest=_MOST_CHARS, skip_none=skip_none)


def texts_of(given: object) -> Items[Any]:
    """Return texts one by one, where the caller may have given a single one.

    Raises:
        InvalidRequestError: It is nothing that has texts in an order.
    """
    if isinstance(given, str):
        return [given]
    if isinstance(given, bytes | bytearray | memoryview):
        raise _refusal("text", given, "decode it: text.decode()")
    return check_container(given, "text")


def check_container(given: Any, field: str) -> Items[Any]:
    """Return what holds items in an order, if it is that.

    A walk through a table is one through the names of its columns, one through a dictionary leads to its keys, and the
    length of neither tells how many come.

    Raises:
        InvalidRequestError: It is something else; the message says what to give instead.
    """
    if isinstance(given, Mapping):
        raise _refusal(field, given, f"give the texts or pictures alone: list({field}.values())")
    if isinstance(given, set | frozenset):
        raise _refusal(field, given, f"it has no order that answers could be in; give sorted({field})")
    if hasattr(given, "columns") or hasattr(given, "column_names"):
        raise _refusal(field, given, f'give one column of it: table["{field}"]')
    shape = getattr(given, "shape", None)
    if isinstance(shape, tuple) and len(shape) != 1:
        raise _refusal(field, given, f"it has {len(shape)} dimensions, not one; give one column of it")
    if isinstance(given, AsyncIterable):
        return given
    try:
        iter(given)
    except TypeError:
        raise _refusal(field, given, f"give one {field} or a list of them") from None
    return given  # type: ignore[no-any-return]


def groups(items: Items[Any], cut: Cut[J]) -> Iterator[Group[J]] | AsyncIterator[Group[J]]:
    """Cut items into requests; of asynchronous items these are asynchronous too."""
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
    """Takes items one after the other, and gives back groups as they are full."""

    def __init__(self, cut: Cut[J]) -> None:
        self._cut = cut
        self._next_place = 0
        self._items: list[J] = []
        self._places: list[int] = []
        self._weight = 0

    def take(self, item: object) -> Iterator[Group[J]]:
        """Take the next item in, and yield what it makes full."""
        cut, place = self._cut, self._next_place
        self._next_place += 1
        if hasattr(item, "as_py"):
            item = item.as_py()  # a scalar of Arrow
        at = f"{cut.field}[{place}]"
        if is_missing(item):
            if cut.skip_none:
                return
            raise _error(cut.field)(
                f"{at} is missing ({item!r}); give skip_none=True to leave out what is missing.", param=at
            )
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
        """Yield what there is, if there is any."""
        if self._items:
            first, end = self._places[0], self._places[-1] + 1
            is_gapless = end - first == len(self._items)
            yield Group(self._items, range(first, end) if is_gapless else self._places)
            self._items, self._places, self._weight = [], [], 0


def is_missing(item: object) -> bool:
    """Tell whether an item stands for one that is not there: None, NaN, or pandas' NA."""
    if item is None or type(item).__name__ in _MISSING:
        return True
    return isinstance(item, float | np.floating) and bool(np.isnan(item))


def _read_text(item: object, at: str) -> str:
    if isinstance(item, str):
        return item
    kind = type(item).__name__
    advice = "decode it first" if isinstance(item, bytes) else "texts are str"
    raise InvalidRequestError(f"{at} is {_article(kind)} {kind}, not a text; {advice}.", param=at)


def _refusal(field: str, given: object, advice: str) -> InvalidRequestError:
    kind = type(given).__name__
    what = "texts" if field == "text" else "pictures"
    return _error(field)(f"{field} is {_article(kind)} {kind}, which is no row of {what}: {advice}.", param=field)


def _error(field: str) -> type[InvalidRequestError]:
    return InvalidRequestError if field == "text" else ImageError


def _article(word: str) -> str:
    return "an" if word[:1].lower() in "aeiou" else "a"
