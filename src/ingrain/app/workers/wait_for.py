"""Lets tasks wait until a condition holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Pulse:
    """Wakes all waiting tasks on each ``beat``; each task then checks its condition again."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def beat(self) -> None:
        """Wake all waiting tasks."""
        self._event.set()
        self._event = asyncio.Event()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until a condition holds."""
        while not holds():
            await self._event.wait()
