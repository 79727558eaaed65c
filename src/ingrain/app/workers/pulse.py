"""Waiting for a condition that other parts of the program bring about."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Pulse:
    """Wakes those who wait, so that each looks whether what it waits for has come true."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def beat(self) -> None:
        """Have all who wait look again."""
        self._event.set()
        self._event = asyncio.Event()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until a condition holds."""
        while not holds():
            await self._event.wait()
