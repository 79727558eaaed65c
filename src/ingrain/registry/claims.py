"""Lets one server at a time convert a model, among all that share a repository."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from ingrain.repository.store import Repository

_LOOK_AGAIN_S = 2.0


@asynccontextmanager
async def claimed(repository: Repository, key: str) -> AsyncIterator[None]:
    """Wait for the claim of a model's conversion, and hold it.

    Raises:
        StorageUnavailableError: The repository's object storage cannot be reached.
    """
    while True:
        if (release := await _claim(repository, key)) is not None:
            break
        await asyncio.sleep(_LOOK_AGAIN_S)
    try:
        yield
    finally:
        await asyncio.shield(asyncio.to_thread(release))


async def _claim(repository: Repository, key: str) -> Callable[[], None] | None:
    """Try to take the claim; a caller that is cancelled gives it back."""
    claiming = asyncio.ensure_future(asyncio.to_thread(repository.claim_making, key))
    try:
        return await asyncio.shield(claiming)
    except asyncio.CancelledError:
        await asyncio.wait([claiming])
        if not claiming.exception() and (release := claiming.result()) is not None:
            await asyncio.to_thread(release)
        raise
