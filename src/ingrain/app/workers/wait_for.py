"""Lets tasks wait until a condition holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Pulse:
    """Wakes all waiting tasks at each ``beat``, so that each checks its condition again."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def beat(self) -> None:
        """Have all waiting tasks check their condition."""
        self._event.set()
        self._event = asyncio.Event()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until a condition holds."""
        while not holds():
            await self._event.wait()
