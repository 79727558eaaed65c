"""A call of the client as requests and back: cut into requests, put together from their answers, in order."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ingrain.client.answers import Part, Rows
from ingrain.client.call import Call
from ingrain.client.failures import unexpected

R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")

Calls: TypeAlias = "Iterator[Call[T]] | AsyncIterator[Call[T]]"
"""Requests, of items that are at hand or that come one by one."""

# A bar that shows up for half a second is noise.
_BAR_AFTER_S = 2.0


class Job(Protocol[R_co]):
    """What a transport carries out: requests, their answers in the same order, and one result in the end."""

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, whatever happened."""
        ...

    def calls(self) -> Calls[Any]:
        """Yield the requests; the next is asked for only when there is room for it on the way."""
        ...

    def add(self, part: Any) -> None:
        """Take the answer of the next request in."""
        ...

    def result(self) -> R_co:
        """Return what all answers make together."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A progress bar, shown on a terminal to who waits for longer than two seconds.

    Attributes:
        what: Unit, in the plural.
        wanted: True or False for what the caller said; None to decide by whether there is a terminal.
    """

    what: str
    wanted: bool | None = None

    def open(self, total: int | None) -> tqdm | None:
        """Return the bar, if there is to be one; ``total`` is None where it is not known.

        A bar that is not shown would still take tqdm's lock, which a process forked meanwhile would wait for in vain.
        """
        if not (sys.stderr.isatty() if self.wanted is None else self.wanted):
            return None
        delay = _BAR_AFTER_S if self.wanted is None else 0
        return tqdm(total=total, unit=f" {self.what}", delay=delay, leave=False)


class RowsJob(Generic[R_co]):
    """Items of one kind, each of which becomes a row.

    Args:
        calls: Makes the requests.
        total: How many rows there may be, by what the items say of themselves; None if they do not. Rows are counted.
        finish: Makes the result of all rows, which come as if they were of one request.
        bar: Shows how far it is.
        empty: The rows of no items.
        tells_places: True where the result is to say which items the rows are of.
    """

    def __init__(
        self,
        calls: Callable[[], Calls[Part]],
        *,
        total: int | None,
        finish: Callable[[Part], R_co],
        bar: Bar,
        empty: Rows,
        tells_places: bool = False,
    ) -> None:
        self.calls = calls
        self._rows = Collected(total)
        self._empty = empty
        self._finish = finish
        self._bar = bar.open(total)
        self._started = time.perf_counter()
        self._parts = 0
        self._milliseconds = 0.0
        self._token_counts: list[int] = []
        self._truncated: list[bool] = []
        self._places: list[int] | None = [] if tells_places else None

    def __enter__(self) -> Self:
        self._started = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def add(self, part: Part) -> None:
        """Take rows in."""
        self._parts += 1
        self._milliseconds = part.milliseconds
        self._rows.add(part.rows)
        self._token_counts += part.token_counts or []
        self._truncated += part.truncated or []
        if self._places is not None:
            self._places += part.places or []
        if self._bar is not None:
            self._bar.update(len(part.rows))

    def result(self) -> R_co:
        """Return what ``finish`` makes of all rows."""
        elapsed = round(1e3 * (time.perf_counter() - self._started), 3)
        whole = Part(
            self._rows.all() if self._parts else self._empty,
            self._milliseconds if self._parts == 1 else elapsed,
            self._token_counts or None,
            self._truncated or None,
            self._places,
        )
        return self._finish(whole)


class Collected:
    """Rows in order, in no more memory than they need: a large array is made once, and filled.

    Args:
        expected: How many rows there may be. It is a hint: rows that never came are not handed out.
    """

    def __init__(self, expected: int | None) -> None:
        self._expected = expected
        self._lists: list[list[float]] = []
        self._arrays: list[NDArray[Any]] = []
        self._whole: NDArray[Any] | None = None
        self._filled = 0
        self._kind: tuple[object, ...] | None = None

    def add(self, rows: Rows) -> None:
        """Take the next rows in.

        Raises:
            UnexpectedAnswerError: They are not of the width or the kind of number of those before.
        """
        kind = (rows.dtype, rows.shape[1]) if isinstance(rows, np.ndarray) else (list, len(rows[0]))
        if self._kind not in (None, kind):
            raise unexpected("Vectors of one call differ in width or kind; was the model replaced meanwhile?")
        self._kind = kind
        if isinstance(rows, list):
            self._lists += rows
            return
        if self._whole is None:
            # All rows are kept in the one way that the first were, whatever length was told.
            if self._arrays or self._expected is None or len(rows) >= self._expected:
                self._arrays.append(rows)
                return
            self._whole = np.empty((self._expected, rows.shape[1]), rows.dtype)
        end = self._filled + len(rows)
        if end > len(self._whole):
            more = np.empty((max(len(self._whole), len(rows)), rows.shape[1]), rows.dtype)
            self._whole = np.concatenate([self._whole[: self._filled], more])
        self._whole[self._filled : end] = rows
        self._filled = end

    def all(self) -> Rows:
        """Return all rows."""
        if self._whole is not None:
            return self._whole if self._filled == len(self._whole) else self._whole[: self._filled].copy()
        if self._arrays:
            # Of an answer's own bytes numpy makes an array that cannot be written to; a caller gets one that can.
            whole: NDArray[Any] = np.concatenate(self._arrays)
            return whole
        return self._lists


class SingleJob(Generic[R_co]):
    """A call that is one request."""

    def __init__(self, call: Call[R_co]) -> None:
        self._call = call
        self._answers: list[R_co] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def calls(self) -> Iterator[Call[R_co]]:
        """Yield the request."""
        yield self._call

    def add(self, part: Any) -> None:
        """Keep the answer."""
        self._answers.append(part)

    def result(self) -> R_co:
        """Return the answer."""
        return self._answers[0]


class PairJob(Generic[R_co]):
    """Texts and pictures of one call, in requests of their own, side by side."""

    def __init__(
        self, texts: RowsJob[Any] | None, pictures: RowsJob[Any] | None, finish: Callable[[Any, Any], R_co]
    ) -> None:
        self._jobs = (texts, pictures)
        self._finish = finish
        self._asked: deque[RowsJob[Any]] = deque()

    def __enter__(self) -> Self:
        for job in self._jobs:
            if job is not None:
                job.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for job in self._jobs:
            if job is not None:
                job.__exit__(kind, error, trace)

    def calls(self) -> Calls[Part]:
        """Yield the requests of both."""
        feeds = [(job, job.calls()) for job in self._jobs if job is not None]
        if any(isinstance(feed, AsyncIterator) for _, feed in feeds):
            return self._walk_async(feeds)
        return self._walk(feeds)  # type: ignore[arg-type]  # none of them is asynchronous

    def _walk(self, feeds: list[tuple[RowsJob[Any], Iterator[Call[Part]]]]) -> Iterator[Call[Part]]:
        for job, feed in feeds:
            for call in feed:
                self._asked.append(job)
                yield call

    async def _walk_async(self, feeds: list[tuple[RowsJob[Any], Calls[Part]]]) -> AsyncIterator[Call[Part]]:
        for job, feed in feeds:
            if isinstance(feed, AsyncIterator):
                async for call in feed:
                    self._asked.append(job)
                    yield call
            else:
                for call in feed:
                    self._asked.append(job)
                    yield call

    def add(self, part: Part) -> None:
        """Take rows in; answers come in the order of their requests."""
        self._asked.popleft().add(part)

    def result(self) -> R_co:
        """Return what ``finish`` makes of both results."""
        texts, pictures = self._jobs
        return self._finish(texts and texts.result(), pictures and pictures.result())


def count_of(items: object) -> int | None:
    """Return how many items there are by their own word, where that can be told without walking through them."""
    try:
        return len(items)  # type: ignore[arg-type]  # what has no length raises TypeError
    except TypeError:
        return None
