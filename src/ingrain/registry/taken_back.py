"""Stops a load that a command began, and leaves the model as it was before the command."""

from __future__ import annotations

import asyncio
import logging

from ingrain.registry.loader import Loader
from ingrain.registry.slots import Before, Slot, not_loaded

_RETRY_S = 1.0

log = logging.getLogger("ingrain.registry")


async def take_back(loader: Loader, slot: Slot, before: Before) -> None:
    """Stop the load of a model that was in the table, but not loaded; a load that has ended stays.

    Args:
        loader: Loads the model.
        slot: The model's slot.
        before: How the model was.
    """
    loading = slot.task
    assert loading is not None
    loading.cancel()
    await asyncio.wait([loading])
    if slot.task is not loading or slot.state != "LOADING":
        return
    slot.state = "UNLOADING"
    slot.task = asyncio.create_task(_restore(loader, slot, before), name=f"take back the load of {slot.key}")
    await asyncio.wait([slot.task])


async def _restore(loader: Loader, slot: Slot, before: Before) -> None:
    try:
        async with loader.locks.hold(slot.key):
            if slot.model is not None:  # all graphs are loaded, and the model may be listed as the command says
                await loader.desired.restore(slot.key, None if before.is_on_demand else before.ref)
                graphs = slot.model.manifest.graphs
            else:
                stored = await asyncio.to_thread(loader.repository.read_manifest, slot.key)
                graphs = stored.graphs if stored is not None else ()
            await loader.graphs.unload(slot.ref.name, graphs, slot.number)
    except Exception:  # a later load unloads what is left
        log.exception("Unloading %r failed", slot.ref.name)
    slot.ref, slot.is_on_demand, slot.keep_alive_s = before.ref, before.is_on_demand, before.keep_alive_s
    loader.slots.rest(slot, before.error or not_loaded(slot.ref.name))
    slot.is_resting = before.is_resting
    if not before.is_resting:
        slot.retry_at = asyncio.get_running_loop().time() + _RETRY_S
