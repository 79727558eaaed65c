"""Calls with one row per item: split into several requests, and combined from their responses in order."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar

import msgspec
import numpy as np
from tqdm import tqdm

from ingrain.client.answers import DTYPES, Part, Rows, rows_reader
from ingrain.client.call import Call, Reply, checked_request_id
from ingrain.client.collected import Collected
from ingrain.client.items import Group, Groups
from ingrain.client.requests import ModelName, json_body
from ingrain.client.token_vectors import Ragged

R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")

Calls: TypeAlias = "Iterator[Call[T]] | AsyncIterator[Call[T]]"
"""Requests, asynchronous if their items are."""
Encode = Callable[[Group[Any]], list[str]]
"""Encodes a request's items for JSON; slow, so it runs outside the event loop."""

ReadFor = Callable[[Sequence[int]], Callable[[Reply], Part]]
"""Returns what decodes the response to a request for the items at some places."""

_RAW = "application/octet-stream"
# A short call shows no progress bar.
_BAR_AFTER_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOptions:
    """The form of the rows, and of the requests for them.

    Attributes:
        as_numpy: True for arrays, False for lists.
        output_dtype: The ``outputDtype`` of the request; None for floats.
        may_be_raw: True if the server may send an array as raw numbers.
        skip_none: True to skip missing items and to return the positions of the others.
        request_id: ``X-Request-Id``; of several requests, all but the first get a number appended.
        progress: True for a progress bar; None to show one on a terminal if the call takes long.
        retries: Largest number of retries of each request; None for that of the client's policy.
    """

    as_numpy: bool
    output_dtype: str | None = None
    may_be_raw: bool = True
    skip_none: bool = False
    request_id: str | None = None
    progress: bool | None = None
    retries: int | None = None

    @property
    def dtype(self) -> str:
        """NumPy's dtype of the numbers in an array."""
        return DTYPES.get(self.output_dtype, "float32")


def row_calls(
    route: str,
    model: ModelName,
    field: Literal["text", "image"],
    groups: Groups[Any],
    fields: Mapping[str, object],
    options: RowOptions,
    encode: Encode | None = None,
    read_for: ReadFor | None = None,
    reader: Callable[..., Callable[[Reply], Part]] = rows_reader,
) -> Calls[Part]:
    """Yield one request for each group of items.

    Responses are rows of numbers; ``reader`` makes other decoders as ``rows_reader`` does, ``read_for`` those of JSON.
    """
    dtype = options.dtype if options.as_numpy else None

    def read_rows(places: Sequence[int]) -> Callable[[Reply], Part]:
        return reader(places, dtype=dtype, tells_places=options.skip_none)

    identity, numbers = checked_request_id(options.request_id), itertools.count()

    def call_of(group: Group[Any]) -> Call[Part]:
        def body() -> bytes:
            items = group.items if encode is None else encode(group)
            return json_body({**model.fields(), **fields, field: items}, places=group.places)

        number = next(numbers)
        return Call(
            plane="inference",
            method="POST",
            path=f"/{route}",
            body=body,
            read=read_rows(group.places) if read_for is None else read_for(group.places),
            accept=_RAW if options.as_numpy and options.may_be_raw and read_for is None else "application/json",
            slow_body=encode is not None,
            places=group.places,
            request_id=f"{identity}.{number}" if number else identity,
            retries=options.retries,
        )

    return _mapped(call_of, groups)


class Job(Protocol[R_co]):
    """Requests whose responses are combined into one result."""

    calls: Calls[Any]

    def add(self, part: Any) -> None:
        """Add the result of the next request, in the order of ``calls``."""
        ...

    def close(self) -> None:
        """Clean up, after success or an error."""
        ...

    def result(self) -> R_co:
        """Return the combined result."""
        ...


class RowsJob(Generic[R_co]):
    """Combines the rows of all requests as if they were of one.

    Args:
        calls: The requests.
        items: The caller's items; their number, if known, is the expected number of rows.
        unit: Plural name of the items, for the progress bar.
        options: Form of the rows.
        finish: Converts all rows to the result.
        rows: Collects the rows; None for rows of one width.
    """

    def __init__(
        self,
        calls: Calls[Part],
        items: object,
        unit: str,
        options: RowOptions,
        finish: Callable[[Part], R_co],
        rows: Ragged | None = None,
    ) -> None:
        self.calls = calls
        self._options = options
        self._finish = finish
        total = _length_of(items)
        self._rows = Collected(total) if rows is None else rows
        self._bar = _open_bar(unit, total, options.progress)
        self._started = time.perf_counter()
        self._parts: list[Part] = []

    def add(self, part: Part) -> None:
        """Add the rows of the next request."""
        self._rows.add(part.rows)
        self._parts.append(msgspec.structs.replace(part, rows=[]))
        if self._bar is not None:
            self._bar.update(len(part.rows))

    def close(self) -> None:
        """Close the progress bar."""
        if self._bar is not None:
            self._bar.close()

    def result(self) -> R_co:
        """Return the result of ``finish`` for all rows."""
        parts, options = self._parts, self._options
        elapsed_ms = round(1e3 * (time.perf_counter() - self._started), 3)
        empty: Rows = np.empty((0, 0), options.dtype) if options.as_numpy else []
        places = [place for part in parts for place in part.places or ()]
        whole = Part(
            self._rows.all() if parts else empty,
            parts[0].milliseconds if len(parts) == 1 else elapsed_ms,
            [count for part in parts for count in part.token_counts or ()] or None,
            [was_cut for part in parts for was_cut in part.truncated or ()] or None,
            places if options.skip_none else None,
            [tokens for part in parts for tokens in part.tokens or ()] or None,
        )
        return self._finish(whole)


class PairJob(Generic[R_co]):
    """Sends the texts and images of one call in separate, concurrent requests.

    Args:
        texts: The job of the texts; None if there are none.
        images: The job of the images; None if there are none.
        finish: Combines the two results.
    """

    def __init__(
        self, texts: RowsJob[Any] | None, images: RowsJob[Any] | None, finish: Callable[[Any, Any], R_co]
    ) -> None:
        self._jobs = (texts, images)
        self._finish = finish
        self.calls = _chained([_mapped(_tagger(job), job.calls) for job in self._jobs if job is not None])

    def add(self, part: tuple[RowsJob[Any], Part]) -> None:
        """Pass the result of the next request to its job."""
        job, rows = part
        job.add(rows)

    def close(self) -> None:
        """Close both jobs."""
        for job in self._jobs:
            if job is not None:
                job.close()

    def result(self) -> R_co:
        """Return the result of ``finish`` for both results."""
        texts, images = self._jobs
        return self._finish(texts and texts.result(), images and images.result())


def _tagger(job: RowsJob[Any]) -> Callable[[Call[Part]], Call[tuple[RowsJob[Any], Part]]]:
    """Return a function that makes a request return its job together with its result."""

    def tag(call: Call[Part]) -> Call[tuple[RowsJob[Any], Part]]:
        read = call.read

        def read_for_job(reply: Reply) -> tuple[RowsJob[Any], Part]:
            return job, read(reply)

        return replace(call, read=read_for_job)  # type: ignore[arg-type, return-value]  # changes the type parameter

    return tag


def _mapped(make: Callable[[Any], Call[T]], items: Iterator[Any] | AsyncIterator[Any]) -> Calls[T]:
    return (make(item) async for item in items) if isinstance(items, AsyncIterator) else map(make, items)


def _chained(feeds: list[Calls[T]]) -> Calls[T]:
    async def walk() -> AsyncIterator[Call[T]]:
        for feed in feeds:
            if isinstance(feed, AsyncIterator):
                async for call in feed:
                    yield call
            else:
                for call in feed:
                    yield call

    if any(isinstance(feed, AsyncIterator) for feed in feeds):
        return walk()
    return itertools.chain.from_iterable(feeds)  # type: ignore[arg-type]  # none of them is asynchronous


def _open_bar(unit: str, total: int | None, wanted: bool | None) -> tqdm | None:
    """Return a progress bar, or None if none is shown.

    A disabled tqdm bar would still take tqdm's lock, on which a process forked meanwhile would hang.
    """
    if not (sys.stderr.isatty() if wanted is None else wanted):
        return None
    return tqdm(total=total, unit=f" {unit}", delay=_BAR_AFTER_S if wanted is None else 0, leave=False)


def _length_of(items: object) -> int | None:
    """Return the number of items if they have a length, else None."""
    try:
        return len(items)  # type: ignore[arg-type]  # an object without a length raises TypeError
    except TypeError:
        return None
