"""A call of the client as requests and back: cut into requests, put together from their answers, in order."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ingrain.client.answers import Part, Rows
from ingrain.client.call import Call

R_co = TypeVar("R_co", covariant=True)

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

    def calls(self) -> Iterator[Call[Any]]:
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

    def open(self, total: int | None) -> tqdm:
        """Return the bar; ``total`` is None where it is not known."""
        shown = sys.stderr.isatty() if self.wanted is None else self.wanted
        delay = _BAR_AFTER_S if self.wanted is None else 0
        return tqdm(total=total, unit=f" {self.what}", disable=not shown, delay=delay, leave=False)


class RowsJob(Generic[R_co]):
    """Items of one kind, each of which becomes a row.

    Args:
        calls: Makes the requests.
        total: How many rows there will be; None if that is not known before the end.
        finish: Makes the result of all rows, which come as if they were of one request.
        bar: Shows how far it is.
    """

    def __init__(
        self,
        calls: Callable[[], Iterator[Call[Part]]],
        *,
        total: int | None,
        finish: Callable[[Part], R_co],
        bar: Bar,
    ) -> None:
        self.calls = calls
        self._rows = Collected(total)
        self._finish = finish
        self._bar = bar.open(total)
        self._started = time.perf_counter()
        self._parts = 0
        self._milliseconds = 0.0
        self._token_counts: list[int] = []
        self._truncated: list[bool] = []

    def __enter__(self) -> Self:
        self._started = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def add(self, part: Part) -> None:
        """Take rows in."""
        self._parts += 1
        self._milliseconds = part.milliseconds
        self._rows.add(part.rows)
        self._token_counts += part.token_counts or []
        self._truncated += part.truncated or []
        self._bar.update(len(part.rows))

    def result(self) -> R_co:
        """Return what ``finish`` makes of all rows."""
        elapsed = round(1e3 * (time.perf_counter() - self._started), 3)
        whole = Part(
            self._rows.all(),
            self._milliseconds if self._parts == 1 else elapsed,
            self._token_counts or None,
            self._truncated or None,
        )
        return self._finish(whole)


class Collected:
    """Rows in order, in no more memory than they need: a large array is made once, and filled."""

    def __init__(self, total: int | None) -> None:
        self._total = total
        self._lists: list[list[float]] = []
        self._arrays: list[NDArray[Any]] = []
        self._whole: NDArray[Any] | None = None
        self._filled = 0

    def add(self, rows: Rows) -> None:
        """Take the next rows in."""
        if isinstance(rows, list):
            self._lists += rows
            return
        if self._total is None or len(rows) == self._total:
            self._arrays.append(rows)
            return
        if self._whole is None:
            self._whole = np.empty((self._total, rows.shape[1]), rows.dtype)
        self._whole[self._filled : self._filled + len(rows)] = rows
        self._filled += len(rows)

    def all(self) -> Rows:
        """Return all rows."""
        if self._whole is not None:
            return self._whole
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

    def calls(self) -> Iterator[Call[Part]]:
        """Yield the requests of both."""
        for job in self._jobs:
            if job is not None:
                for call in job.calls():
                    self._asked.append(job)
                    yield call

    def add(self, part: Part) -> None:
        """Take rows in; answers come in the order of their requests."""
        self._asked.popleft().add(part)

    def result(self) -> R_co:
        """Return what ``finish`` makes of both results."""
        texts, pictures = self._jobs
        return self._finish(texts and texts.result(), pictures and pictures.result())


def count_of(items: Iterable[object]) -> int | None:
    """Return how many items there are, where that can be told without walking through them."""
    try:
        return len(items)  # type: ignore[arg-type]  # what has no length raises TypeError
    except TypeError:
        return None
