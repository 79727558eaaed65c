"""Makes room for a model before it is loaded, and unloads models that are idle or have grown too large."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from ingrain.errors import EngineUnavailableError, ModelLimitError, ModelMemoryError
from ingrain.registry.memory import MemoryPolicy, ModelMemory
from ingrain.registry.slots import Slot, SlotTable
from ingrain.repository.manifest import Manifest
from ingrain.repository.tuning import Execution
from ingrain.units import show_bytes
from ingrain.vocabulary import Role

Reason = Literal["room", "idle", "request"]
"""Why a model is unloaded without a command: another one needs its room, it was not used, or a request says so."""

# A request of several steps looks its model up for each of them. Between two steps it is in no queue.
_JUST_USED_S = 0.1
_LOOK_EVERY_S = 0.02
# For so long a load waits for a moment in which a model has no requests.
_PATIENCE_S = 10.0
_RETRY_AFTER_S = 2.0

log = logging.getLogger("ingrain.registry")


@dataclass(slots=True, kw_only=True)
class Room:
    """Admits loads one after the other, so that loads that do not fit together run in turn.

    Attributes:
        max_models: Limit of loaded models; 0 for no limit.
        rest: Starts to unload a model, as the slot's task; the model stays in the table.
        unloaded: Numbers of models that were unloaded without a command, by reason.
    """

    slots: SlotTable
    memory: ModelMemory
    policy: MemoryPolicy
    max_models: int
    rest: Callable[[Slot, Reason], None]
    unloaded: dict[str, int] = field(default_factory=dict, init=False)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    # Bytes of models that are being loaded, by key.
    _claims: dict[str, int] = field(default_factory=dict, init=False)

    @asynccontextmanager
    async def admitted(
        self, slot: Slot, manifest: Manifest, executions: Mapping[Role, Execution]
    ) -> AsyncIterator[None]:
        """Wait until a model fits, unloading others where the policy says so, and reserve its memory during the load.

        Raises:
            ModelMemoryError, ModelLimitError: The model does not fit, and no model may be unloaded for it.
            EngineUnavailableError: Every model that may be unloaded had requests all the time, or another server is
                changing the one to unload.
        """
        needed = self.memory.needed(slot.key, manifest, executions)
        async with self._turn:
            if slot.model is None:  # one that the engine has lost had its room before
                await self._make(slot, needed)
            self._claims[slot.key] = needed
        try:
            yield
        finally:
            del self._claims[slot.key]

    def fitting(self, needs: Iterable[tuple[str, int]]) -> frozenset[str]:
        """Return the keys of the models that fit together, in this order, from their keys and bytes."""
        left, places, found = self.policy.budget_bytes, self.max_models or None, set()
        for key, needed in needs:
            if (left is None or needed <= left) and (places is None or places > 0):
                found.add(key)
                left = left - needed if left is not None else None
                places = places - 1 if places is not None else None
        return frozenset(found)

    def look(self) -> None:
        """Measure the loaded models; unload idle ones, and one if they have grown beyond the limit."""
        for slot in self.slots:
            self.memory.observe(slot)
        loaded = [slot for slot in self.slots if slot.model is not None]
        now = time.monotonic()
        for slot in loaded:
            if now - slot.used_at >= self.policy.keep_alive_of(slot) and self._may_go(slot):
                self._unload(slot, "idle")
        budget = self.policy.budget_bytes
        taken = sum(slot.memory_bytes or 0 for slot in loaded if slot.state == "READY")
        if budget is not None and taken > budget and self.policy.evicts and (oldest := self._next_to_go(loaded)):
            log.warning("The models take %s; INGRAIN_MODEL_MEMORY is %s", show_bytes(taken), show_bytes(budget))
            self._unload(oldest, "room")

    def put_away_if_idle(self, slot: Slot) -> None:
        """Unload a model whose time in memory is over, as ``look`` does."""
        if slot not in self.slots or time.monotonic() - slot.used_at < self.policy.keep_alive_of(slot):
            return
        if self._may_go(slot):
            self._unload(slot, "request")

    async def _make(self, slot: Slot, needed: int) -> None:
        began = time.monotonic()
        while True:
            others = [
                one for one in self.slots if one is not slot and (one.model is not None or one.key in self._claims)
            ]
            if self._fits(needed, others):
                return
            kept = [one for one in others if self.policy.keeps(one)]
            if not self.policy.evicts or not slot.may_evict or not self._fits(needed, kept):
                raise self._refusal(slot, needed, others)
            if (victim := self._next_to_go(others)) is not None:
                task = self._unload(victim, "room")
                await asyncio.wait([task])
                if victim.state == "READY":
                    raise _not_now(slot, "another server is changing the model that would have to be unloaded")
                continue
            if time.monotonic() - began > _PATIENCE_S:
                raise _not_now(slot, "the models that may be unloaded for it had requests all the time")
            await asyncio.sleep(_LOOK_EVERY_S)

    def _unload(self, slot: Slot, reason: Reason) -> asyncio.Task[None]:
        self.unloaded[reason] = self.unloaded.get(reason, 0) + 1
        self.rest(slot, reason)
        assert slot.task is not None
        return slot.task

    def _fits(self, needed: int, others: Iterable[Slot]) -> bool:
        others = list(others)
        if self.max_models and len(others) >= self.max_models:
            return False
        budget = self.policy.budget_bytes
        return budget is None or needed + sum(map(self._reserved, others)) <= budget

    def _reserved(self, slot: Slot) -> int:
        return self._claims[slot.key] if slot.key in self._claims else self.memory.reserved(slot)

    def _next_to_go(self, slots: Iterable[Slot]) -> Slot | None:
        """Return the model that was not used for the longest time, of those that may be unloaded now."""
        return min(filter(self._may_go, slots), key=lambda slot: slot.used_at, default=None)

    def _may_go(self, slot: Slot) -> bool:
        if slot.model is None or slot.state != "READY" or not slot.task_is_done or self.policy.keeps(slot):
            return False
        return slot.model.is_idle and time.monotonic() - slot.used_at >= _JUST_USED_S

    def _refusal(self, slot: Slot, needed: int, others: list[Slot]) -> ModelLimitError:
        name = slot.ref.name
        if self.max_models and len(others) >= self.max_models:
            return model_limit(name, self.max_models, others)
        budget = self.policy.budget_bytes or 0
        taken = sum(map(self._reserved, others))
        facts: dict[str, object] = {"neededBytes": needed, "limitBytes": budget, "loadedModels": _names(others)}
        limit = f"it needs about {show_bytes(needed)}, and INGRAIN_MODEL_MEMORY is {show_bytes(budget)}"
        if needed > budget:
            return ModelMemoryError(f"Model {name!r} cannot be loaded: {limit}.", param="name", facts=facts)
        return ModelMemoryError(
            f"Model {name!r} cannot be loaded: {limit}, of which {_number(others)} "
            f"{'has' if len(others) == 1 else 'have'} {show_bytes(taken)}. Unload one with POST /unload_model.",
            param="name",
            facts=facts,
        )


def _not_now(slot: Slot, why: str) -> EngineUnavailableError:
    return EngineUnavailableError(
        f"There is no room for model {slot.ref.name!r} now: {why}.",
        retry_after_s=_RETRY_AFTER_S,
    )


def model_limit(name: str, limit: int, loaded: Sequence[Slot]) -> ModelLimitError:
    """Return the error for a model that would be one too many.

    Like every error that is kept with a model or an operation, it names no other model in its message, since not every
    API key may see those.
    """
    return ModelLimitError(
        f"Model {name!r} cannot be loaded: MAX_LOADED_MODELS is {limit}, and {_number(loaded)} "
        f"{'is' if len(loaded) == 1 else 'are'} loaded. Unload one with POST /unload_model.",
        param="name",
        facts={"loadedModels": _names(loaded), "limit": limit},
    )


def _names(slots: Iterable[Slot]) -> list[str]:
    return sorted(slot.ref.name for slot in slots)


def _number(slots: Sequence[Slot]) -> str:
    return "1 model" if len(slots) == 1 else f"{len(slots)} models"
