"""Locks that allow one change of a model at a time, across all processes that share a repository."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager

from ingrain.repository.store import Repository

_CLAIM_EVERY_S = 0.05


class ModelLocks:
    """Locks by model key, held while a model is exported, loaded, unloaded, tuned or deleted.

    Triton fails when the same model is loaded and unloaded at the same time.

    Args:
        repository: Provides the locks between processes.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._locks: dict[str, asyncio.Lock] = {}

    @asynccontextmanager
    async def hold(self, key: str, *, within_s: float | None = None) -> AsyncIterator[None]:
        """Wait for the lock of a model within this process and across processes, and hold it.

        Who holds the lock of another model must set a limit: two servers could wait for each other without end.

        Raises:
            TimeoutError: The lock was not free within ``within_s`` seconds.
        """
        async with AsyncExitStack() as held:
            async with asyncio.timeout(within_s):
                await held.enter_async_context(self._locks.setdefault(key, asyncio.Lock()))
                while not self._claim(key, held):  # noqa: ASYNC110 - other processes send no event
                    await asyncio.sleep(_CLAIM_EVERY_S)
            yield

    def _claim(self, key: str, held: AsyncExitStack) -> bool:
        """Take the lock between processes if it is free, until ``held`` ends."""
        with ExitStack() as claim:
            if claimed := claim.enter_context(self._repository.try_changing(key)):
                held.push(claim.pop_all())
        return claimed
