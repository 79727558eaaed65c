"""One change of a model at a time, over all processes that share a repository."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ingrain.repository.store import Repository

_CLAIM_EVERY_S = 0.05


class ModelLocks:
    """Locks by model key. Whoever exports, loads, unloads, tunes or deletes a model holds its lock.

    Triton fails when the same model is loaded and unloaded at the same time.

    Args:
        repository: Has the locks between processes.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._locks: dict[str, asyncio.Lock] = {}

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[None]:
        """Wait until neither this process nor another changes the model, and keep it so."""
        async with self._locks.setdefault(key, asyncio.Lock()):
            while True:
                with self._repository.try_changing(key) as claimed:
                    if claimed:
                        yield
                        return
                await asyncio.sleep(_CLAIM_EVERY_S)
