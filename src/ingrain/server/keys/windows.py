"""Counts what each API key takes in a minute, in memory that all processes of a server share."""

from __future__ import annotations

import math
import mmap
import os
from bisect import bisect_right

_SLOTS_A_SECOND = 2
_WINDOW_SLOTS = 60 * _SLOTS_A_SECOND
_RING = 128
_CELL_BYTES = 8
_LATEST, _PEAK, _HISTORY = 0, 1, 2
_TAKEN = _HISTORY + _RING
"""Cells of a row: the latest slot of time, the peak of what was earned but not taken, what had been taken at the start
of each of the latest slots, and what each process has taken."""

WINDOWS = 32_768
"""Number of windows in a table."""
WINDOW_S = 60 + 1 / _SLOTS_A_SECOND
"""Seconds after which what was taken no longer counts."""
RESET_S = math.ceil(WINDOW_S)
"""Whole seconds after which all may be taken again, if there is no debt."""


class WindowTable:
    """Memory for the windows of all keys; what is never used takes no memory.

    Args:
        memory: Memory of ``size(writers)`` bytes, zeroed at first.
        writers: Number of processes that use the table.
        writer: Number of this process, from 0; no other process may have it at the same time.
        descriptor: File descriptor of the memory, for the other processes; None if it is not shared.
    """

    def __init__(self, memory: mmap.mmap, writers: int, writer: int, descriptor: int | None = None) -> None:
        self.descriptor = descriptor
        self.writers = writers
        self._cells = memoryview(memory).cast("d")
        self._writer = writer
        self._width = _TAKEN + writers

    @classmethod
    def alone(cls) -> WindowTable:
        """Return a table for one process."""
        return cls(mmap.mmap(-1, _size(1)), 1, 0)

    @classmethod
    def shared(cls, writers: int) -> WindowTable:
        """Return a table for several processes; this one is the last of them."""
        descriptor = os.memfd_create("ingrain-keys")
        os.ftruncate(descriptor, _size(writers))
        return cls.attached(descriptor, writers, writers - 1)

    @classmethod
    def attached(cls, descriptor: int, writers: int, writer: int) -> WindowTable:
        """Return the table of another process by its file descriptor."""
        return cls(mmap.mmap(descriptor, _size(writers)), writers, writer, descriptor)

    def window(self, number: int, limit: int) -> Window:
        """Return a window by its number; numbers ``WINDOWS`` apart share a row."""
        return Window(self._row(number), self._writer, limit)

    def clear(self, number: int) -> None:
        """Forget what was taken from a window, before its row is given to another key."""
        row = self._row(number)
        row[_LATEST], row[_PEAK] = -_RING, -math.inf

    def _row(self, number: int) -> memoryview[float]:
        first = number % WINDOWS * self._width
        return self._cells[first : first + self._width]


class Window:
    """What one key takes of one limit.

    At most the limit is taken in any 60 s: the window slides in slots of half a second and is up to one slot longer.
    Tokens may exceed the limit, because a request is only known to be too large once it is tokenized. That debt is paid
    off at the rate of the limit: as in a token bucket, which is full at ``peak``, the maximum over time of what was
    earned less what was taken.

    No lock is needed: each process adds up what it takes in a cell of its own. The other cells are written by any
    process, with values that differ by what is taken in the same instant.

    Args:
        row: The row of the window, float64.
        writer: Number of this process.
        limit: Limit per minute.

    Attributes:
        latest_left: What ``left`` returned last, without what this process has taken since.
    """

    __slots__ = ("_begin", "_end", "_most", "_rate", "_row", "_taken", "_writer", "latest_left", "limit")

    def __init__(self, row: memoryview[float], writer: int, limit: int) -> None:
        self.limit = limit
        self.latest_left: float = limit
        # Within a slot without a debt, only the sum of what is taken changes: it may be ``_most`` from _begin to _end.
        self._begin = self._end = self._most = 0.0
        self._row = row
        self._taken = row[_TAKEN:]
        self._writer = writer
        self._rate = limit / 60

    def take(self, amount: int) -> None:
        """Count what a request takes."""
        self._taken[self._writer] += amount
        self.latest_left -= amount

    def left(self, now: float) -> float:
        """Return how much may still be taken now, by ``time.monotonic``; less than zero after a debt."""
        left = self._most - sum(self._taken) if self._begin <= now < self._end else self._look(now)
        self.latest_left = left
        return left

    def wait_s(self, now: float) -> float:
        """Return the seconds until something may be taken again."""
        if self.left(now) > 0:
            return 0.0
        row, taken, slot = self._row, sum(self._taken), int(now * _SLOTS_A_SECOND)
        at_start = [row[_HISTORY + one % _RING] for one in range(slot - _WINDOW_SLOTS + 1, slot + 1)]
        first = slot + 1 + bisect_right(at_start, taken - self.limit)
        debt = row[_PEAK] - self._rate * now + taken - self.limit
        return max(first / _SLOTS_A_SECOND - now, debt / self._rate)

    def reset_s(self, left: float) -> int:
        """Return the whole seconds until all may be taken again, from the result of ``left``."""
        if left >= self.limit:
            return 0
        return RESET_S if left >= 0 else max(RESET_S, math.ceil((self.limit - left) / self._rate))

    def _look(self, now: float) -> float:
        """Return what is left by the row, and keep what stays the same until the next slot."""
        row, taken, slot = self._row, sum(self._taken), int(now * _SLOTS_A_SECOND)
        if row[_LATEST] < slot:
            self._turn(slot, taken)
        most = self.limit + row[_HISTORY + (slot - _WINDOW_SLOTS) % _RING]
        earned, peak = self._rate * now - taken, row[_PEAK]
        if earned >= peak:
            row[_PEAK] = earned
        elif most - taken > self.limit + earned - peak:
            return self.limit + earned - peak  # there is a debt, which shrinks all the time
        self._begin, self._end, self._most = slot / _SLOTS_A_SECOND, (slot + 1) / _SLOTS_A_SECOND, most
        return most - taken

    def _turn(self, slot: int, taken: float) -> None:
        """Note what had been taken at the start of each slot since the latest."""
        row = self._row
        for one in range(max(int(row[_LATEST]) + 1, slot - _RING + 1), slot + 1):
            row[_HISTORY + one % _RING] = taken
        row[_LATEST] = slot


def _size(writers: int) -> int:
    return WINDOWS * (_TAKEN + writers) * _CELL_BYTES
