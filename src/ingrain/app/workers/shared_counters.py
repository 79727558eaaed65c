"""Counters of the workers in shared memory, which each process can read without a message."""

from __future__ import annotations

import mmap
import os
import zlib

_COLUMNS = 1024
_CELL_BYTES = 8
_CLOSED = 0
_ALL_IN_FLIGHT = 1
_FIRST_GRAPH = 2
"""Columns: connections that a worker has closed, its batches of all graphs, and from here on those of each graph."""


class SharedTable:
    """One row of integers for each worker, which that worker alone writes.

    Writing a cell is atomic. That a reader may see it a moment late does no harm.

    Args:
        descriptor: From ``create``; it may be closed afterwards.
        workers: Number of rows.
    """

    def __init__(self, descriptor: int, workers: int) -> None:
        self._cells = memoryview(mmap.mmap(descriptor, _size(workers))).cast("q")
        self._workers = workers

    @staticmethod
    def create(workers: int) -> int:
        """Allocate a table of zeros, and return its file descriptor."""
        descriptor = os.memfd_create("ingrain-workers")
        os.ftruncate(descriptor, _size(workers))
        return descriptor

    def clear(self, worker: int) -> None:
        """Set the row of a dead worker to zero."""
        first = worker * _COLUMNS
        self._cells[first : first + _COLUMNS] = memoryview(bytes(_COLUMNS * _CELL_BYTES)).cast("q")

    def closed(self, worker: int) -> int:
        """Return how many connections a worker has closed."""
        return self._cells[worker * _COLUMNS + _CLOSED]

    def count_closed(self, worker: int) -> None:
        """Count a connection that a worker has closed."""
        self._cells[worker * _COLUMNS + _CLOSED] += 1

    def in_flight(self, worker: int, graph: str) -> InFlight:
        """Return the counter of a graph's batches, as a worker uses it.

        Two graphs may share a column; each then counts the other's batches too, and sends fewer ahead.
        """
        return self._counted(worker, _FIRST_GRAPH + zlib.crc32(graph.encode()) % (_COLUMNS - _FIRST_GRAPH))

    def all_in_flight(self, worker: int) -> InFlight:
        """Return the counter of the batches of all graphs, as a worker uses it."""
        return self._counted(worker, _ALL_IN_FLIGHT)

    def _counted(self, worker: int, column: int) -> InFlight:
        others = tuple(row * _COLUMNS + column for row in range(self._workers) if row != worker)
        return InFlight(self._cells, worker * _COLUMNS + column, others)


class InFlight:
    """Counts batches over all workers: a ``SharedInFlight``."""

    def __init__(self, cells: memoryview[int], mine: int, others: tuple[int, ...]) -> None:
        self._cells = cells
        self._mine = mine
        self._others = others

    def begin(self) -> None:
        """Count a batch that this worker has sent."""
        self._cells[self._mine] += 1

    def end(self) -> None:
        """Count a batch of this worker that has come back."""
        self._cells[self._mine] -= 1

    def elsewhere(self) -> int:
        """Return how many batches of other workers are in the engine."""
        return sum([self._cells[cell] for cell in self._others])


def _size(workers: int) -> int:
    return workers * _COLUMNS * _CELL_BYTES
