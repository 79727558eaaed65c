"""Locks that allow one change of a model at a time, across all processes that share a repository."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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
    async def hold(self, key: str) -> AsyncIterator[None]:
        """Wait for the lock of a model within this process and across processes, and hold it."""
        async with self._locks.setdefault(key, asyncio.Lock()):
            while True:
                with self._repository.try_changing(key) as claimed:
                    if claimed:
                        yield
                        return
                await asyncio.sleep(_CLAIM_EVERY_S)
