"""The models of a worker process, which serves the models that the main process has loaded."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable

from ingrain.errors import IngrainError
from ingrain.models.loaded import LoadedModel
from ingrain.registry.protocol import Models
from ingrain.registry.slots import Slot, not_loaded
from ingrain.registry.snapshot import RegistryView
from ingrain.registry.status import ModelStatus, status_of
from ingrain.vocabulary import Library

OpenKey = Callable[[str], LoadedModel]
"""Opens the model with this key in the repository; blocks on the disk."""

Demand = Callable[[str, Library | None, str | None], Awaitable[None]]
"""Waits until a model is loaded, by name, library and weight tag."""

log = logging.getLogger("ingrain.registry")


class FollowedRegistry(Models):
    """Opens the models that the registry of another process, the owner, has loaded.

    Args:
        open_model: Opens a model.
        refresh: Asks the owner to check whether another server has changed the list of models.
        suspect: Asks the owner to compare its models with the engine.
        demand: Asks the owner to load a model; None if no request loads one.
    """

    def __init__(
        self,
        open_model: OpenKey,
        *,
        refresh: Callable[[], Awaitable[bool]],
        suspect: Callable[[], None],
        demand: Demand | None = None,
    ) -> None:
        super().__init__()
        self.loads_on_demand = demand is not None
        self._ask_for = demand
        self._open_model = open_model
        self._refresh = refresh
        self._suspect = suspect
        self._wanted: set[int] = set()
        self._awaited: set[int] = set()
        self._everywhere: frozenset[int] = frozenset()
        self._leaving: dict[int, asyncio.Task[None]] = {}

    @property
    def leaving(self) -> frozenset[int]:
        """Numbers of the slots whose models the owner unloads, but which still have requests."""
        return frozenset(self._leaving)

    def follow(self, view: RegistryView, everywhere: frozenset[int]) -> None:
        """Update the table from the owner's; ``open_missing`` opens the new models.

        Args:
            view: All models that should be loaded.
            everywhere: Numbers of the slots whose models are open in every process.
        """
        self.slots.is_started, self._everywhere = view.is_started, everywhere
        models = {model.number: model for model in view.models}
        for slot in self.slots:
            if slot.number not in models:
                self.slots.remove(slot, not_loaded(slot.ref.name))
        known = {slot.number: slot for slot in self.slots}
        for number, model in models.items():
            slot = known.get(number) or self.slots.add(model.ref, pinned=True, number=number)
            slot.ref, slot.state, slot.progress = model.ref, model.state, model.progress
            slot.error = IngrainError(model.error) if model.error is not None else None
            slot.is_resting, slot.memory_bytes = model.is_resting, model.memory_bytes
            # A model that the owner has loaded is awaited further until every process serves it.
            slot.is_awaited = model.is_awaited or (slot.is_awaited and self._is_opening(slot))
            if slot.executions != model.executions:
                slot.executions = model.executions
                if slot.model is not None:
                    slot.model.retune(slot.executions)
        self._wanted = {model.number for model in view.models if model.is_open}
        self._awaited = {model.number for model in view.models if model.is_awaited}

    def put_away(self, on_left: Callable[[], None]) -> None:
        """Drop the models that the owner unloads, those with requests when these are done; then call ``on_left``."""
        for slot in self.slots:
            if slot.model is None or slot.number in self._wanted or slot.number in self._leaving:
                continue
            if slot.model.is_idle:
                _drop(slot)
            else:
                self._leaving[slot.number] = asyncio.create_task(
                    self._put_away(slot, slot.model, on_left), name=f"put away {slot.key}"
                )

    async def _put_away(self, slot: Slot, model: LoadedModel, on_left: Callable[[], None]) -> None:
        await model.finish_requests()
        del self._leaving[slot.number]
        if slot.model is model and slot.number not in self._wanted:  # the owner may have kept it after all
            _drop(slot)
        on_left()

    def uses(self) -> dict[int, tuple[float, float | None]]:
        """Return the time of the last request of each open model and its ``keep_alive_s``, by the slot's number."""
        now, uses = time.monotonic(), {}
        for slot in self.slots:
            if slot.model is not None:
                uses[slot.number] = slot.used_at if slot.model.is_idle else now, slot.keep_alive_s
                slot.keep_alive_s = None  # told once: another worker may hear otherwise
        return uses

    async def open_missing(self) -> frozenset[int]:
        """Open the models that are not open yet; return the numbers of the slots that failed."""
        failed = set()
        for slot in self.slots:
            if slot.number in self._wanted and slot.model is None and not await self._open(slot):
                failed.add(slot.number)
        return frozenset(failed & self._wanted)

    def close(self, error: IngrainError) -> None:
        """Fail all waiting requests with this error."""
        for task in self._leaving.values():
            task.cancel()
        for slot in self.slots:
            self.slots.remove(slot, error)

    async def refresh(self) -> bool:
        """Have the owner read the list of models again if another server changed it; return True if it changed."""
        return await self._refresh()

    def suspect(self) -> None:
        """Have the owner compare its models with the engine."""
        self._suspect()

    def engine_is_away(self) -> None:
        """Have the owner look at the engine; its next view then says for which models to wait."""
        self._suspect()

    async def _demand(self, name: str, library: Library | None, pretrained: str | None) -> None:
        if self._ask_for is not None:
            await self._ask_for(name, library, pretrained)

    def _kept_alive(self, slot: Slot) -> None:
        """The owner learns of it with the next ``uses``."""

    def _status(self, slot: Slot) -> ModelStatus:
        """Return the status of a model; it is LOADING until every process serves it."""
        status = status_of(slot)
        if self._is_opening(slot):
            return dataclasses.replace(status, state="LOADING", reason="it is being loaded.")
        return status

    def _is_opening(self, slot: Slot) -> bool:
        """Return whether the owner has loaded the model, but not every process serves it."""
        return slot.state == "READY" and (slot.model is None or slot.number not in self._everywhere)

    async def _open(self, slot: Slot) -> bool:
        try:
            model = await asyncio.to_thread(self._open_model, slot.key)
        except Exception:  # the owner could open the model, so the failure may be temporary; keep serving the others
            log.exception("Model %r could not be opened", slot.ref.name)
            return False
        if slot in self.slots:
            model.retune(slot.executions)
            slot.model = model
            # No view may follow: to the other processes nothing has changed if this one is the last to open it.
            slot.is_awaited = slot.number in self._awaited or (slot.is_awaited and self._is_opening(slot))
            log.debug("Model %r is open", slot.ref.name)
        else:
            model.close(not_loaded(slot.ref.name))
        return True


def _drop(slot: Slot) -> None:
    model, slot.model = slot.model, None
    if model is not None:
        model.close(not_loaded(slot.ref.name))
