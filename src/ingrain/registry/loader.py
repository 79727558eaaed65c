"""Loads, replaces and unloads single models."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import msgspec

from ingrain.errors import IngrainError, MachineError, ModelLimitError, RequestError, UnsupportedModelError
from ingrain.machine_faults import machine_fault, naming_repository_faults
from ingrain.models.loaded import LoadedModel
from ingrain.registry.graphs import EngineGraphs, Occasion, too_slow
from ingrain.registry.maker import Maker
from ingrain.registry.memory import MemoryPolicy, ModelMemory
from ingrain.registry.model_locks import ModelLocks
from ingrain.registry.models_to_load import DesiredModels
from ingrain.registry.room import Reason, Room, model_limit
from ingrain.registry.slots import Slot, SlotTable, not_loaded, not_ready, resting
from ingrain.registry.tunings import Tunings
from ingrain.repository.manifest import Graph, Manifest
from ingrain.repository.models_to_load import ModelRef
from ingrain.repository.store import Entry, Repository
from ingrain.repository.tuning import Execution
from ingrain.tuning.machine import TuningMachine
from ingrain.vocabulary import Precision, Role

_WHY_RESTING: dict[Reason, str] = {
    "room": "it made room for another model.",
    "idle": "it was not used.",
    "request": "a request asked to unload it.",
}
_LOCK_WAIT_S = 10.0
_FIRST_RETRY_S = 1.0
_LONGEST_RETRY_S = 60.0

OpenModel = Callable[[Entry], LoadedModel]
"""Opens the side files and creates the queues of a model whose graphs are loaded. Blocks on disk."""

WhyNot = Callable[[Precision], str | None]
"""Returns why a precision cannot be served here, as the end of a sentence; None if it can."""

log = logging.getLogger("ingrain.registry")


@dataclass(slots=True, kw_only=True)
class Loader:
    """Brings slots to READY or UNAVAILABLE, and removes them from the table.

    A slot is changed only in its one ``slot.task``, which holds the model's lock. Removing a slot from the table is
    immediate and cancels its task. Unloading the graphs then waits for the lock, and is skipped if the model has a new
    slot by then.

    Attributes:
        max_models: Limit of loaded models; 0 for no limit.
        policy: Which models may be loaded at the same time.
        memory: The memory that models need.
        room: Makes room for models.
        unloads: Unloads in the background.
    """

    repository: Repository
    slots: SlotTable
    desired: DesiredModels
    locks: ModelLocks
    maker: Maker
    graphs: EngineGraphs
    tunings: Tunings
    place: TuningMachine
    open_model: OpenModel
    why_not: WhyNot
    max_models: int
    policy: MemoryPolicy
    memory: ModelMemory
    room: Room = field(init=False)
    unloads: set[asyncio.Task[None]] = field(default_factory=set, init=False)
    # Keys of models that were removed while their graphs may have been in a layout that a tuning tried.
    _displaced: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self.room = Room(
            slots=self.slots,
            memory=self.memory,
            policy=self.policy,
            max_models=self.max_models,
            rest=self.rest,
        )

    def begin(
        self,
        ref: ModelRef,
        slot: Slot | None = None,
        *,
        pinned: bool = False,
        by_command: bool = False,
        on_demand: bool = False,
        may_evict: bool = True,
    ) -> Slot:
        """Start to load a model, and return its slot.

        A slot that serves the model in another precision, task or settings continues to serve it until the new one is
        exported.

        Args:
            ref: The model.
            slot: The model's slot, whose task is done; None for a new slot.
            pinned: True to keep a new slot in the table when loading fails.
            by_command: True if a user asks for the load, and so for this server's settings.
            on_demand: True if a request needs the model, which may then take the place of another one.
            may_evict: False if no other model may be unloaded to make room.

        Raises:
            ModelLimitError: The limit of loaded models is reached.
        """
        if not on_demand and (slot is None or slot.is_resting):
            self._check_limit(ref)
        if slot is None:
            slot = self.slots.add(ref, pinned=pinned)
            slot.is_on_demand = on_demand and slot.key not in self.desired.keys
        slot.command = None
        if by_command:
            slot.take_command(ref)
        slot.is_resting, slot.is_demanded, slot.may_evict = False, on_demand, may_evict
        served: ModelRef | None = slot.ref
        is_replaced = slot.model is not None and (by_command or not ref.is_met_by(slot.model.manifest))
        if slot.state != "READY" or not is_replaced:
            slot.state, served = "LOADING", None
        slot.ref = ref.after(slot.ref)
        slot.error, slot.retry_at, slot.load_began = None, math.inf, time.monotonic()
        slot.task = asyncio.create_task(self._load(slot, served, by_command=by_command), name=f"load {slot.key}")
        return slot

    def begin_if_allowed(self, ref: ModelRef, *, may_evict: bool = True) -> None:
        """Start to load a model that has no slot; if the limit is reached, only log that."""
        try:
            self.begin(ref, pinned=True, may_evict=may_evict)
        except ModelLimitError as error:
            log.error("%s", error.message)

    def rest(self, slot: Slot, reason: Reason) -> None:
        """Start to unload a model that stays in the table, so that a request or a command can load it again.

        Requests that it has are answered first.
        """
        log.info("Model %r is unloaded: %s", slot.ref.name, _WHY_RESTING[reason])
        slot.state, slot.command = "UNLOADING", None
        slot.task = asyncio.create_task(self._rest(slot, _WHY_RESTING[reason]), name=f"put away {slot.key}")

    async def _rest(self, slot: Slot, why: str) -> None:
        assert slot.model is not None
        model = slot.model
        try:
            await model.finish_requests()
            async with self.locks.hold(slot.key, within_s=_LOCK_WAIT_S):
                await self.graphs.unload(slot.ref.name, model.manifest.graphs, slot.number)
        except TimeoutError:  # another server that holds the lock may wait for one that this server holds
            slot.state = "READY"
            return
        except Exception:  # a later load unloads what is left
            log.exception("Unloading %r failed", slot.ref.name)
        self.put_away(slot, why)

    def put_away(self, slot: Slot, why: str) -> None:
        """Mark a model as not loaded until a request or a command loads it again."""
        self.slots.rest(slot, resting(slot, f"Model {slot.ref.name!r} is not loaded: {why} {self.how_to_load}"))

    @property
    def how_to_load(self) -> str:
        """How a model that is not loaded comes back, as a sentence."""
        return "The next request loads it." if self.policy.on_demand else "Load it with POST /load_model."

    async def adopt(self, slot: Slot, ref: ModelRef) -> None:
        """Apply a user's command to a loaded model: list it if a request has loaded it, and keep what the command says.

        Raises:
            MachineError: The list cannot be written.
        """
        wanted = ref.after(slot.ref)
        kept = (wanted.pin, wanted.keep_alive_s) != (slot.ref.pin, slot.ref.keep_alive_s)
        if ref.keep_alive_s is not None:
            slot.keep_alive_s = None
        if kept or slot.is_on_demand:
            slot.ref = msgspec.structs.replace(slot.ref, pin=wanted.pin, keep_alive_s=wanted.keep_alive_s)
            await self.desired.remember(slot.key, slot.ref)
            slot.is_on_demand = False

    async def unload(self, slot: Slot) -> None:
        """Unload a model, or stop loading it, and remove it from the list of models.

        Raises:
            MachineError: The list cannot be written; the model stays as it was.
        """
        await self.desired.forget(slot.key)
        graphs = self._take_out(slot)
        if slot.task is not None and not slot.task.done():
            await asyncio.wait([slot.task])
        async with self.locks.hold(slot.key):
            if self.slots.of(slot.ref) is not None:
                return  # another request has loaded the model again meanwhile
            if slot.key in self.desired.keys:  # the load in progress has listed it again
                await self.desired.forget(slot.key)
            if not graphs:  # a cancelled load may have loaded some graphs
                stored = await asyncio.to_thread(self.repository.read_manifest, slot.key)
                graphs = stored.graphs if stored is not None else ()
            await self.graphs.unload(slot.ref.name, graphs)

    def follow_unload(self, slot: Slot) -> None:
        """Unload a model that another process has unloaded; this process's own engine still has its graphs."""
        graphs = self._take_out(slot)

        async def unload() -> None:
            async with self.locks.hold(slot.key):
                # In a shared engine the process that has loaded a model again must keep it.
                if self.slots.of(slot.ref) is None and not await self.desired.lists(slot.key):
                    await self.graphs.unload(slot.ref.name, graphs)

        task = asyncio.create_task(unload(), name=f"unload {slot.key}")
        self.unloads.add(task)
        task.add_done_callback(self.unloads.discard)

    def needed(self, key: str) -> int:
        """Return the bytes that a model of the repository needs; 0 if it is not there. Reads a file."""
        manifest = self.repository.read_manifest(key)
        return self.memory.needed(key, manifest, self.place.executions(manifest)) if manifest is not None else 0

    async def has_other_settings(self, slot: Slot) -> bool:
        """Return whether a shared engine has a loaded model with other settings than this server's."""
        if slot.model is None:
            return False
        manifest = slot.model.manifest
        executions = self.place.executions(manifest)
        differ = [await self.graphs.differ(manifest, graph, executions[graph.role].layout) for graph in manifest.graphs]
        return any(differ)

    async def _load(self, slot: Slot, served: ModelRef | None, *, by_command: bool) -> None:
        """Bring a slot to READY, or store the error in it; raise only CancelledError.

        Args:
            slot: The slot.
            served: Reference of the model that the slot serves until the new one is exported; None if it serves none.
            by_command: True if a user asks for the load.
        """
        try:
            if by_command:
                await asyncio.to_thread(self.repository.check_writable)
            slot.stamp = await asyncio.to_thread(self.repository.stamp, slot.key)
            with naming_repository_faults():
                async with self.locks.hold(slot.key):
                    await self._make_and_load(slot, by_command=by_command)
            await self.tunings.tune_first(slot)
        except TimeoutError:
            self._failed(slot, too_slow(), served)
        except IngrainError as error:
            self._failed(slot, error, served)
        except Exception as broken:  # whatever failed, the load must end in a state that users can see
            log.exception("Loading %r failed", slot.ref.name)
            message = f"Model {slot.ref.name!r} could not be loaded; the server's log has the cause."
            self._failed(slot, machine_fault(broken) or IngrainError(message), served)
        except asyncio.CancelledError:
            if served is not None and slot.state == "READY":
                slot.ref, slot.progress = served, None
            raise
        else:
            slot.state, slot.progress, slot.retries = "READY", None, 0
            slot.pinned, slot.is_awaited, slot.used_at = True, False, time.monotonic()
            slot.may_evict, slot.load_s = True, time.monotonic() - slot.load_began
            log.info("Model %r is ready", slot.ref.name)

    async def _make_and_load(self, slot: Slot, *, by_command: bool) -> None:
        # Another server's precision is left alone like its other settings, unless a user asks for this server's.
        is_loaded = slot.model is not None or slot.is_on_demand
        as_stored = not by_command and (self.graphs.are_shared or is_loaded)
        entry = await self.maker.obtain(slot, as_stored=as_stored)
        slot.stamp = await asyncio.to_thread(self.repository.stamp, slot.key)
        slot.progress = None  # the conversion is done; loading into the engine has no progress
        manifest = entry.manifest
        if reason := self.why_not(manifest.precision):
            raise UnsupportedModelError(
                f"Model {slot.ref.name!r} is stored in {manifest.precision!r}, {reason}", param="precision"
            )
        occasion: Occasion = "command" if by_command else "again" if slot.model is not None else "first"
        if slot.model is not None and slot.model.manifest.untuned != manifest.untuned:
            await self._retire(slot, slot.model, manifest)
        if by_command and slot.state == "READY":
            slot.state = "LOADING"
            await self.graphs.settle(None)
        executions = self.place.executions(manifest)
        async with self.room.admitted(slot, manifest, executions):
            await self._load_graphs(slot, entry, executions, occasion)
        assert slot.model is not None
        slot.model.retune(slot.executions)
        self.memory.observe(slot)
        if await self.has_other_settings(slot):
            log.warning(
                "Model %r is served as Triton has loaded it, which differs from this server's settings; POST "
                "/load_model on this server loads it with them",
                slot.ref.name,
            )
        if not slot.is_on_demand:
            await self._remember(slot, manifest)

    async def _load_graphs(
        self, slot: Slot, entry: Entry, executions: Mapping[Role, Execution], occasion: Occasion
    ) -> None:
        manifest = entry.manifest
        opening = None if slot.model is not None else asyncio.create_task(asyncio.to_thread(self.open_model, entry))
        is_displaced = slot.is_displaced or slot.key in self._displaced
        try:
            for graph in manifest.graphs:
                layout = executions[graph.role].layout
                if is_displaced:
                    await self.graphs.load_anew(manifest, graph, layout)
                else:
                    await self.graphs.load(manifest, graph, layout, occasion)
        except BaseException as error:
            if opening is not None:
                await asyncio.gather(opening, return_exceptions=True)
                if isinstance(error, Exception) and not self.graphs.are_shared:
                    await self.graphs.unload(slot.ref.name, manifest.graphs)  # those before the one that failed
            raise
        slot.executions, slot.is_displaced = await self.graphs.within(manifest, executions), False
        self._displaced.discard(slot.key)
        if opening is not None:
            slot.model = await opening
        elif slot.model is not None and slot.model.manifest != manifest:
            slot.model = replace(slot.model, manifest=manifest)  # another server may have tuned it

    async def _remember(self, slot: Slot, manifest: Manifest) -> None:
        """List a loaded model; unload it if that fails.

        Raises:
            MachineError: The list cannot be written.
        """
        is_listed = slot.key in self.desired.keys
        ref = slot.ref
        if is_listed and (ref.precision, ref.task, ref.pin, ref.keep_alive_s) == (None, None, None, None):
            return
        try:
            await self.desired.remember(slot.key, slot.ref)
        except MachineError as error:
            if not is_listed:
                await self.graphs.unload(slot.ref.name, manifest.graphs)
                raise
            log.error("Model %r is loaded, but its precision or task is not listed: %s", slot.ref.name, error.message)

    async def _retire(self, slot: Slot, model: LoadedModel, new: Manifest) -> None:
        """Stop serving a model whose entry was replaced; fail its waiting requests with 503."""
        slot.state, slot.model = "LOADING", None
        self.slots.renumber(slot)
        model.close(not_ready(slot))
        graphs = model.manifest.graphs
        if self.graphs.are_shared:
            # The server that replaced the entry may have loaded the new graphs, which have the names of the old ones.
            kept = {graph.name for graph in new.graphs}
            graphs = tuple(graph for graph in graphs if graph.name not in kept)
        await self.graphs.unload(slot.ref.name, graphs)

    def _failed(self, slot: Slot, error: IngrainError, served: ModelRef | None) -> None:
        slot.is_awaited = False
        if served is not None and slot.state == "READY":
            slot.ref, slot.error, slot.progress = served, error, None
            log.error("Model %r was not replaced and is served as before: %s", slot.ref.name, error.message)
            return
        slot.state, slot.error, slot.progress = "UNAVAILABLE", error, None
        log.error("Model %r is not loaded: %s", slot.ref.name, error.message)
        if slot.is_on_demand or slot.is_demanded or (slot.pinned and isinstance(error, ModelLimitError)):
            self.slots.rest(slot, error)  # and for a while not even a request has it tried again
            slot.retry_at = _next_try(slot)
        elif not slot.pinned and slot.key not in self.desired.keys:
            self.slots.remove(slot, error)
        elif not isinstance(error, RequestError):
            slot.retry_at = _next_try(slot)

    def _take_out(self, slot: Slot) -> tuple[Graph, ...]:
        """Remove a slot at once, so that the next load gets a new slot; return the graphs to unload."""
        graphs = slot.model.manifest.graphs if slot.model is not None else ()
        slot.state = "UNLOADING"
        if slot.task is not None:
            slot.task.cancel()
        self.tunings.end(slot.key)
        if slot.is_displaced:
            self._displaced.add(slot.key)
        self.slots.remove(slot, not_loaded(slot.ref.name))
        return graphs

    def _check_limit(self, ref: ModelRef) -> None:
        loaded = [slot for slot in self.slots if not slot.is_resting]
        if self.max_models and len(loaded) >= self.max_models:
            raise model_limit(ref.name, self.max_models, loaded)


def _next_try(slot: Slot) -> float:
    """Count a failed attempt, and return the event-loop time of the next one."""
    pause_s = min(_LONGEST_RETRY_S, _FIRST_RETRY_S * float(2**slot.retries))
    slot.retries += 1
    return asyncio.get_running_loop().time() + pause_s
