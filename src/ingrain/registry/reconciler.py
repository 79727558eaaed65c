"""Keeps the table of models in sync with the list in the repository and with the engine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ingrain.errors import IngrainError
from ingrain.models.loaded import LoadedModel
from ingrain.registry.graphs import EngineGraphs
from ingrain.registry.loader import Loader
from ingrain.registry.models_to_load import DesiredModels
from ingrain.registry.slots import Slot, SlotTable
from ingrain.repository.models_to_load import ModelRef

_RECONCILE_EVERY_S = 2.0

log = logging.getLogger("ingrain.registry")


@dataclass(slots=True, kw_only=True)
class Reconciler:
    """Checks every two seconds, or when woken, for changes of the list, graphs missing in the engine, and retries."""

    slots: SlotTable
    desired: DesiredModels
    loader: Loader
    graphs: EngineGraphs
    _wake: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _refresh_turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _refreshing: asyncio.Task[bool] | None = field(default=None, init=False)
    _loop: asyncio.Task[None] | None = field(default=None, init=False)
    # The last message that the list of models cannot be read.
    _told: str = field(default="", init=False)

    async def start(self, models: Iterable[ModelRef]) -> None:
        """Start to load the given models and those in the list, and start to check for changes."""
        self.graphs.engine.on_restart(self._engine_came_back)
        wanted: dict[str, ModelRef] = {}
        try:
            wanted = await self.desired.read()
        except IngrainError as error:  # it is read again at each check
            log.error("The models of the last run are not loaded yet: %s", error.message)
        models = list(models)
        for ref in models:
            known = wanted.get(ref.key, ref)
            precision, task = ref.precision or known.precision, ref.task or known.task
            wanted[ref.key] = msgspec.structs.replace(known, precision=precision, task=task)
        fitting = await self._fitting(wanted, {ref.key for ref in models})
        for ref in wanted.values():
            if self.slots.of(ref) is not None:
                continue
            if fitting is None or ref.key in fitting:
                self.loader.begin_if_allowed(ref, may_evict=False)
            else:
                self.loader.put_away(self.slots.add(ref, pinned=True), "there is no room for it.")
        for slot in self.slots:
            slot.is_awaited = not slot.is_resting
        self.slots.is_started = True
        self._loop = asyncio.create_task(self._run(), name="reconcile models")

    async def _fitting(self, wanted: dict[str, ModelRef], given: set[str]) -> frozenset[str] | None:
        """Return the keys of the models to load at the start; None for all.

        Pinned models come first, then those given at the start, then those that were listed last. One that is not
        stored yet is converted in any case.
        """
        policy = self.loader.policy
        if policy.budget_bytes is None and not policy.on_demand:
            return None
        newest_first = list(reversed(wanted.values()))
        newest_first.sort(key=lambda ref: (not policy.pins(ref), ref.key not in given))
        needs = await asyncio.to_thread(lambda: [(ref.key, self.loader.needed(ref.key)) for ref in newest_first])
        return self.loader.room.fitting(needs)

    def tasks(self) -> list[asyncio.Task[Any]]:
        """Return the tasks to cancel at shutdown."""
        return [task for task in (self._loop, self._refreshing) if task is not None]

    def wake(self) -> None:
        """Compare with the engine now, without waiting for the next check."""
        self._wake.set()

    async def refresh(self) -> bool:
        """Apply changes that another process made to the list of models; return True if it changed.

        Calls run one at a time, so that a call returns only after a change that an earlier call is reading was applied.
        A call runs to its end even if its caller is cancelled: a hanging disk then blocks one thread, not one per call.
        """
        await self._refresh_turn.acquire()
        turn = self._refreshing = asyncio.create_task(self._refresh(), name="refresh the list of models")
        turn.add_done_callback(self._end_refresh)
        return await asyncio.shield(turn)

    def _end_refresh(self, turn: asyncio.Task[bool]) -> None:
        self._refresh_turn.release()
        if not turn.cancelled():
            turn.exception()  # mark the exception as retrieved; a waiting caller still gets it

    async def _refresh(self) -> bool:
        if not await self.desired.has_changed():
            return False
        before = set(self.desired.keys)
        desired = await self.desired.read()
        for slot in self.slots:
            if slot.key in before and slot.key not in desired:
                self.loader.follow_unload(slot)
        for key, ref in desired.items():
            known = self.slots.of(ref)
            if known is None:
                if key not in before:
                    self.loader.begin_if_allowed(ref)
            elif known.model is not None and known.task_is_done and not ref.is_met_by(known.model.manifest):
                self.loader.begin(ref, known)
        return True

    def _engine_came_back(self) -> None:
        """Stop serving all models until the next check finds their graphs: a restarted engine may have lost them."""
        for slot in self.slots:
            if slot.state == "READY":
                slot.state = "LOADING"
            elif slot.lacks_engine:
                slot.retry_at = asyncio.get_running_loop().time()
        self.graphs.ledger.forget()
        self.wake()

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_RECONCILE_EVERY_S):
                    await self._wake.wait()
            except TimeoutError:
                pass  # the regular check
            self._wake.clear()
            for step in (self._try_refresh, self._retry_and_repair):
                try:
                    await step()
                except IngrainError as error:
                    log.warning("Models could not be compared with the engine: %s", error.message)
                except Exception:  # the next check may succeed, so the loop must not end
                    log.exception("Models could not be compared with the engine")

    async def _try_refresh(self) -> None:
        """Apply changes of the list if it can be read; a disk that fails does not keep models from being repaired."""
        try:
            await self.refresh()
            self._told = ""
        except IngrainError as error:
            if error.message != self._told:
                log.error("The list of models cannot be read, and what is loaded stays: %s", error.message)
            self._told = error.message

    async def _retry_and_repair(self) -> None:
        is_live = await self.graphs.engine.live()
        if not is_live:
            self.slots.await_engine()
        now = asyncio.get_running_loop().time()
        checked = []
        for slot in self.slots:
            if slot not in self.slots:
                continue  # unloaded while this loop was awaiting
            if slot.state == "UNAVAILABLE" and not slot.is_resting:
                # A damaged entry may have been restored.
                is_due = slot.retry_at <= now or await self._entry_has_changed(slot)
                if is_due and slot in self.slots and slot.state == "UNAVAILABLE":
                    self.loader.begin(slot.ref, slot)
            elif slot.model is not None and slot.task_is_done and is_live:
                if not slot.is_displaced:
                    checked.append(slot)
                await self._repair(slot, slot.model)
        if is_live:
            self.loader.room.look()
        if checked and not any(slot.state == "READY" for slot in checked):
            # The engine has lost every model, so it has restarted: this server cannot serve until they are back.
            for slot in checked:
                slot.is_awaited = not slot.task_is_done

    async def _repair(self, slot: Slot, model: LoadedModel) -> None:
        """Load a model again if graphs are missing in the engine, unless another process has unloaded it on purpose."""
        present = [await self.graphs.engine.ready(graph.name) for graph in model.manifest.graphs]
        if slot.state not in ("READY", "LOADING") or not slot.task_is_done:
            return
        if all(present) and not slot.is_displaced:
            slot.state, slot.is_awaited = "READY", False
            if self.graphs.are_shared:
                await self._follow_others(slot, model)
            return
        await self._try_refresh()
        if slot in self.slots and self._is_put_away(slot):
            self.graphs.forget(model.manifest.graphs)
            self.loader.put_away(slot, "another server has unloaded it.")
        elif slot in self.slots:
            log.warning("Model %r is missing in the engine; loading it again", slot.ref.name)
            self.loader.begin(slot.ref, slot)

    def _is_put_away(self, slot: Slot) -> bool:
        """Return whether another server on a shared engine has unloaded a model to make room, or because it was idle.

        An engine that was restarted has lost all models. This one lost some: to load one again would take the room of
        another, and the servers could do so in turn without end.
        """
        others = [one for one in self.slots if one is not slot and one.model is not None]
        is_alone = not any(one.state == "READY" for one in others)
        return self.graphs.are_shared and self.loader.policy.moves_models and not is_alone

    async def _follow_others(self, slot: Slot, model: LoadedModel) -> None:
        """Follow another server that has loaded a model's graphs into a shared engine with other limits, or others."""
        if await self._entry_has_changed(slot):
            slot.stamp = await asyncio.to_thread(self.loader.repository.stamp, slot.key)
            stored = await asyncio.to_thread(self.loader.repository.read_manifest, slot.key)
            is_replaced = stored is not None and stored.untuned != model.manifest.untuned
            if is_replaced and self._is_idle(slot, model):
                self.loader.begin(slot.ref, slot)
                return
        executions = await self.graphs.within(model.manifest, self.loader.place.executions(model.manifest))
        if executions != slot.executions and self._is_idle(slot, model):
            slot.executions = executions
            model.retune(executions)

    async def _entry_has_changed(self, slot: Slot) -> bool:
        return slot.stamp != await asyncio.to_thread(self.loader.repository.stamp, slot.key)

    def _is_idle(self, slot: Slot, model: LoadedModel) -> bool:
        return slot in self.slots and slot.model is model and slot.task_is_done
