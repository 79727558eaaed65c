"""How many pixels are in memory at once, over all threads that decode."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class PixelBudget:
    """Lets pictures wait for room, first come first served, so that many large ones cannot use up the memory.

    Args:
        pixels: Most pixels held at once; a picture that wants more gets all of them for itself.
    """

    def __init__(self, pixels: int) -> None:
        self._pixels = pixels
        self._free = pixels
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Wait for room, and keep it until the block ends."""
        pixels = min(pixels, self._pixels)
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                self._changed.wait_for(lambda: self._waiting[0] is ticket and self._free >= pixels)
                self._free -= pixels
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += pixels
                self._changed.notify_all()
