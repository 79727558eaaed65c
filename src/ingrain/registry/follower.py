"""The models of a process that serves what another process has loaded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from ingrain.batching.batcher import Batcher
from ingrain.errors import IngrainError, ModelLoadingError
from ingrain.models.loaded import LoadedModel
from ingrain.registry.table import ModelStatus, Slot, SlotTable, not_loaded, not_ready, status_of
from ingrain.registry.view import RegistryView
from ingrain.vocabulary import Library

OpenKey = Callable[[str], LoadedModel]
"""Makes what requests need of the model with this key in the repository; blocks on the disk."""

log = logging.getLogger("ingrain.registry")


class FollowedRegistry:
    """Holds open the models that the registry which it follows has loaded.

    Args:
        open_model: Opens a model.
        refresh: Asks the owner to look whether another server has changed the list of models.
        suspect: Asks the owner to compare its models with the engine.
    """

    def __init__(
        self, open_model: OpenKey, *, refresh: Callable[[], Awaitable[bool]], suspect: Callable[[], None]
    ) -> None:
        self._open_model = open_model
        self._refresh = refresh
        self._suspect = suspect
        self._slots = SlotTable()
        self._wanted: set[int] = set()
        self._everywhere: frozenset[int] = frozenset()
        self._is_started = False

    def follow(self, view: RegistryView, everywhere: frozenset[int]) -> None:
        """Take over what the owner says, at once; new models are opened by ``open_missing``.

        Args:
            view: All models that should be loaded.
            everywhere: Numbers of those that every process has open.
        """
        self._is_started, self._everywhere = view.is_started, everywhere
        told = {model.number: model for model in view.models}
        for slot in self._slots:
            if slot.number not in told:
                self._drop(slot, not_loaded(slot.ref.name))
        known = {slot.number: slot for slot in self._slots}
        for number, model in told.items():
            slot = known.get(number) or self._slots.add(model.ref, pinned=True, number=number)
            slot.ref, slot.state, slot.progress = model.ref, model.state, model.progress
            slot.error = IngrainError(model.error) if model.error is not None else None
            if slot.executions != model.executions:
                slot.executions = model.executions
                if slot.model is not None:
                    slot.model.retune(slot.executions)
        self._wanted = {model.number for model in view.models if model.is_open}

    async def open_missing(self) -> frozenset[int]:
        """Open the models that are not open yet; return the numbers of those that could not be."""
        failed = set()
        for slot in self._slots:
            if slot.number in self._wanted and slot.model is None and not await self._open(slot):
                failed.add(slot.number)
        return frozenset(failed & self._wanted)

    def close(self, error: IngrainError) -> None:
        """Answer what waits with this error."""
        for slot in self._slots:
            self._drop(slot, error)

    def get(self, name: str, *, library: Library | None = None, pretrained: str | None = None) -> LoadedModel:
        """Return a model that can be inferred now.

        Raises:
            ModelNotLoadedError: Nobody asked for it to be loaded.
            ModelLoadingError: It is on its way, or the engine is; try again later.
            ModelConflictError: Several loaded models have this name; ``pretrained`` or ``library`` decides.
        """
        if not self._is_started:
            raise ModelLoadingError("The server is being started.", param="name", retry_after_s=2.0)
        slot = self._slots.one(name, library, pretrained)
        if slot.model is None or slot.state != "READY":
            raise not_ready(slot)
        return slot.model

    async def refresh(self) -> bool:
        """Have the owner follow what another server changed in the list of models; tell whether it changed."""
        return await self._refresh()

    def suspect(self) -> None:
        """Have the owner compare its models with the engine."""
        self._suspect()

    def loaded(self) -> list[LoadedModel]:
        """Return the models that can be inferred now."""
        return self._slots.loaded()

    def statuses(self) -> list[ModelStatus]:
        """Return the models that should be loaded; one that not every process serves yet is still being loaded."""
        return [self._status(slot) for slot in self._slots]

    def user_names(self) -> dict[str, str]:
        """Return what the user calls each graph: the model's name, with the tower where a model has several."""
        return self._slots.user_names()

    def queues(self) -> list[tuple[str, Batcher[Any]]]:
        """Return every queue of the loaded models, by the user's name of its graph."""
        return self._slots.queues()

    def _status(self, slot: Slot) -> ModelStatus:
        status = status_of(slot)
        if slot.state == "READY" and (slot.model is None or slot.number not in self._everywhere):
            return ModelStatus(
                name=status.name,
                library=status.library,
                state="LOADING",
                pretrained=status.pretrained,
                reason="it is being loaded.",
            )
        return status

    async def _open(self, slot: Slot) -> bool:
        try:
            model = await asyncio.to_thread(self._open_model, slot.key)
        except (
            Exception
        ):  # its owner has opened it, so whatever is wrong here may pass; the others are served meanwhile
            log.exception("Model %r could not be opened", slot.ref.name)
            return False
        if self._slots.of(slot.ref) is slot:
            model.retune(slot.executions)
            slot.model = model
            log.debug("Model %r is open", slot.ref.name)
        else:
            model.close(not_loaded(slot.ref.name))
        return True

    def _drop(self, slot: Slot, error: IngrainError) -> None:
        self._slots.remove(slot)
        if slot.model is not None:
            slot.model.close(error)
            slot.model = None
