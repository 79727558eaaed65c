"""Runs the batches of a graph on all cores: several at a time, each on one or a few threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from ingrain.cores import usable_cores
from ingrain.export.process.threads import export_threads

Batch = TypeVar("Batch")
Result = TypeVar("Result")

# Each batch at a time needs memory for its values, so many cores share a few batches.
_MOST_AT_ONCE = 4


def batches_at_once() -> int:
    """Return the number of batches that run at a time."""
    return min(export_threads() or usable_cores(), _MOST_AT_ONCE)


def session_threads() -> int:
    """Return the number of threads of a session whose batches run several at a time."""
    return max(1, (export_threads() or usable_cores()) // batches_at_once())


def side_by_side(run: Callable[[Batch], Result], batches: Iterable[Batch]) -> Iterator[tuple[Batch, Result]]:
    """Yield each batch with its result, in order, while the next ones are running.

    Args:
        run: Runs a batch; called in several threads.
        batches: The batches; read as they are needed.
    """
    at_once = batches_at_once()
    if at_once == 1:
        yield from ((batch, run(batch)) for batch in batches)
        return
    waiting: deque[tuple[Batch, Future[Result]]] = deque()
    with ThreadPoolExecutor(at_once, "batches") as pool:
        try:
            for batch in batches:
                waiting.append((batch, pool.submit(run, batch)))
                if len(waiting) > at_once:
                    first, result = waiting.popleft()
                    yield first, result.result()
            for first, result in waiting:
                yield first, result.result()
        finally:
            pool.shutdown(cancel_futures=True)
