"""Watches whether front ends say that they are ready, and how often they take it back."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence

import httpx

_LOOK_S = 0.25
_ANSWER_S = 5.0


class ReadyWatch:
    """Asks each front end again and again whether it is ready.

    Args:
        addresses: URLs of the inference planes.
    """

    def __init__(self, addresses: Sequence[str]) -> None:
        self._seen: list[list[tuple[float, bool]]] = [[] for _ in addresses]
        self._tasks = [
            asyncio.create_task(self._watch(address, seen)) for address, seen in zip(addresses, self._seen, strict=True)
        ]

    async def close(self) -> None:
        """Ask no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def losses_since(self, moment: float) -> int:
        """Return how often a front end that was ready was so no more; of several, that of the one with the most."""
        return max(_losses([is_ready for when, is_ready in seen if when >= moment]) for seen in self._seen)

    async def _watch(self, address: str, seen: list[tuple[float, bool]]) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=_ANSWER_S) as client:
            while True:
                try:
                    # A connection of its own each time, as orchestrators' probes have.
                    answer = await client.get(f"{address}/ready", headers={"Connection": "close"})
                    is_ready = answer.status_code == 200
                except httpx.HTTPError:
                    is_ready = False
                seen.append((time.monotonic(), is_ready))
                await asyncio.sleep(_LOOK_S)


def _losses(answers: Sequence[bool]) -> int:
    return sum(before and not after for before, after in itertools.pairwise((True, *answers)))
