"""Follows the load of a model, for responses that tell its progress while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from ingrain.progress import Progress
from ingrain.registry.registry import Registry
from ingrain.repository.models_to_load import ModelRef
from ingrain.server.plane.detach import detach

_LOOK_EVERY_S = 0.1
_REPEAT_AFTER_S = 10.0


async def load_with_progress(registry: Registry, ref: ModelRef) -> AsyncGenerator[Progress | None, None]:
    """Load a model, as ``Registry.load`` does, and yield the progress at the start and whenever it changes.

    Progress that does not change is repeated every few seconds, so that no proxy takes the connection for dead. The
    load continues if the caller stops following it; a load that is in progress already is joined.

    Yields:
        The progress; None while there is none to tell: while other loads come first, or the engine loads the graphs.

    Raises:
        IngrainError: As ``Registry.load``.
    """
    loading = detach(registry.load(ref))
    loop = asyncio.get_running_loop()
    told: Progress | None = None
    told_at = -_REPEAT_AFTER_S
    while not loading.done():
        slot = registry.slots.of(ref)
        progress = slot.progress if slot is not None else None
        if progress != told or loop.time() - told_at >= _REPEAT_AFTER_S:
            told, told_at = progress, loop.time()
            yield progress
        await asyncio.wait([loading], timeout=_LOOK_EVERY_S)
    loading.result()
