"""Counters of the workers in shared memory, so that each process can read them without messages."""

from __future__ import annotations

import mmap
import os
import zlib

_COLUMNS = 1024
_CELL_BYTES = 8
_CLOSED = 0
_ALL_IN_FLIGHT = 1
_FIRST_GRAPH = 2
"""Columns: closed connections, batches in flight of all graphs, and from here on batches in flight per graph."""


class SharedTable:
    """One row of integers for each worker; only that worker writes the row.

    Writing a cell is atomic. Readers tolerate slightly outdated values.

    Args:
        descriptor: From ``create``; the caller may close it afterwards.
        workers: Number of rows.
    """

    def __init__(self, descriptor: int, workers: int) -> None:
        self._cells = memoryview(mmap.mmap(descriptor, _size(workers))).cast("q")
        self._workers = workers

    @staticmethod
    def create(workers: int) -> int:
        """Allocate a zeroed table and return its file descriptor."""
        descriptor = os.memfd_create("ingrain-workers")
        os.ftruncate(descriptor, _size(workers))
        return descriptor

    def clear(self, worker: int) -> None:
        """Set the row of a dead worker to zero."""
        first = worker * _COLUMNS
        self._cells[first : first + _COLUMNS] = memoryview(bytes(_COLUMNS * _CELL_BYTES)).cast("q")

    def closed(self, worker: int) -> int:
        """Return the number of connections that a worker has closed."""
        return self._cells[worker * _COLUMNS + _CLOSED]

    def count_closed(self, worker: int) -> None:
        """Count a connection that a worker has closed."""
        self._cells[worker * _COLUMNS + _CLOSED] += 1

    def in_flight(self, worker: int, graph: str) -> InFlight:
        """Return a worker's counter of a graph's batches.

        Two graphs may share a column. Each then also counts the other's batches, and keeps fewer batches in flight.
        """
        return self._counter(worker, _FIRST_GRAPH + zlib.crc32(graph.encode()) % (_COLUMNS - _FIRST_GRAPH))

    def all_in_flight(self, worker: int) -> InFlight:
        """Return a worker's counter of the batches of all graphs."""
        return self._counter(worker, _ALL_IN_FLIGHT)

    def _counter(self, worker: int, column: int) -> InFlight:
        others = tuple(row * _COLUMNS + column for row in range(self._workers) if row != worker)
        return InFlight(self._cells, worker * _COLUMNS + column, others)


class InFlight:
    """Implements ``SharedInFlight``: counts batches in flight over all workers."""

    def __init__(self, cells: memoryview[int], mine: int, others: tuple[int, ...]) -> None:
        self._cells = cells
        self._mine = mine
        self._others = others

    def begin(self) -> None:
        """Count a batch that this worker has sent."""
        self._cells[self._mine] += 1

    def end(self) -> None:
        """Count a batch of this worker that has finished."""
        self._cells[self._mine] -= 1

    def elsewhere(self) -> int:
        """Return the number of batches in flight of other workers."""
        return sum([self._cells[cell] for cell in self._others])


def _size(workers: int) -> int:
    return workers * _COLUMNS * _CELL_BYTES
