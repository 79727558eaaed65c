"""Loads a model of the repository because a request names it; all requests that wait for a model share one load."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass

from ingrain.errors import ModelNotFoundError, ModelNotLoadedError
from ingrain.registry.loader import Loader
from ingrain.registry.slots import Slot, SlotTable, not_loaded, not_ready
from ingrain.registry.stored import StoredModels
from ingrain.repository.models_to_load import ModelRef
from ingrain.vocabulary import Library

_LOOK_EVERY_S = 0.05


@dataclass(slots=True, kw_only=True)
class OnDemand:
    """Brings models into memory for requests.

    Attributes:
        loads: Number of loads that requests have begun.
    """

    slots: SlotTable
    stored: StoredModels
    loader: Loader
    loads: int = 0

    async def ready(self, name: str, library: Library | None, pretrained: str | None) -> Slot:
        """Wait until a model is loaded; begin to load it if it is not loaded and nobody else does.

        Args:
            name: The model's own name.
            library: Source library, if several models share the name.
            pretrained: OpenCLIP's weight tag.

        Raises:
            ModelNotLoadedError: The repository has no such model.
            ModelLoadingError: It could not be loaded, or is being converted.
            ModelConflictError: Several models have this name.
        """
        while True:
            slot = await self._slot(name, library, pretrained)
            if slot.state == "READY" and slot.model is not None:
                return slot
            if slot.is_resting:
                if slot.is_on_demand and slot.retry_at < math.inf and isinstance(slot.error, ModelNotLoadedError):
                    self.slots.remove(slot, slot.error)  # it was deleted
                    continue
                if slot.retry_at < math.inf and asyncio.get_running_loop().time() < slot.retry_at:
                    raise not_ready(slot)
                self.loads += 1
                self.loader.begin(slot.ref, slot, on_demand=True)
            elif not slot.is_coming:
                raise not_ready(slot)
            elif slot.task is not None and not slot.task.done():
                await asyncio.wait([slot.task])
            else:  # the engine was restarted, and the next look at it begins the load
                await asyncio.sleep(_LOOK_EVERY_S)

    async def _slot(self, name: str, library: Library | None, pretrained: str | None) -> Slot:
        if not self.slots.matching(name, library, pretrained):
            try:
                stored = await asyncio.to_thread(self.stored.manifest, name, library, pretrained)
            except ModelNotFoundError:
                raise not_loaded(name) from None
            ref = ModelRef(name=stored.name, library=stored.library, pretrained=stored.pretrained)
            if self.slots.of(ref) is None:
                self.loads += 1
                self.loader.begin(ref, on_demand=True)
        return self.slots.one(name, library, pretrained)
