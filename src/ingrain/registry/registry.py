"""Loads and unloads models, and keeps them loaded whatever happens to the engine."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from ingrain.batching.batcher import Batcher
from ingrain.engine.protocol import Engine, GraphStatistics
from ingrain.engine.statistics import Ledger
from ingrain.errors import (
    EngineError,
    EngineUnavailableError,
    IngrainError,
    InvalidRequestError,
    MachineError,
    ModelLimitError,
    ModelLoadingError,
    RepositoryError,
    RequestError,
    UnsupportedModelError,
)
from ingrain.export.process.job import Progress
from ingrain.machine_faults import machine_fault
from ingrain.models.loaded import LoadedModel
from ingrain.registry.desired import DesiredModels
from ingrain.registry.maker import Export, Maker, check_revision
from ingrain.registry.stored import StoredModels
from ingrain.registry.table import ModelStatus, Slot, SlotTable, key_of, not_loaded, not_ready, shutting_down, status_of
from ingrain.registry.tuner import Tuner
from ingrain.registry.tunings import Tunings
from ingrain.registry.view import RegistryView, view_of
from ingrain.repository.desired import ModelRef
from ingrain.repository.manifest import Graph, Manifest
from ingrain.repository.names import model_key
from ingrain.repository.store import Entry, Repository
from ingrain.repository.tuning import Layout
from ingrain.tuning.place import TuningPlace
from ingrain.vocabulary import Library, Precision

PrepareGraph = Callable[[Manifest, Graph, Layout | None], bool]
"""Completes a graph's folder for the engine in use (``config.pbtxt``), in a layout or the settings' own; tells whether
that changed anything; blocks on disk."""

OpenModel = Callable[[Entry], LoadedModel]
"""Makes what requests need of a model whose graphs are loaded; blocks on the disk."""

Done = TypeVar("Done")

Settle = Callable[[int | None], Awaitable[None]]
"""Waits until every process that serves knows what is loaded now; with a slot's number, until each serves its model."""

_RECONCILE_EVERY_S = 2.0
_CLAIM_EVERY_S = 0.05
_FIRST_RETRY_S = 1.0
_LONGEST_RETRY_S = 60.0

log = logging.getLogger("ingrain.registry")


async def _alone(number: int | None) -> None:
    del number  # what this process knows, all processes know


@dataclass(slots=True, kw_only=True)
class Registry:
    """Makes the engine's models those that should be loaded.

    The list of models that should be loaded lies in the repository. Processes that share a repository follow it, so
    that what one loads or unloads the others serve or drop within seconds, and what was loaded is loaded again after
    a restart of the server or of Triton.

    Attributes:
        repository: Where published models are.
        engine: What runs them.
        export: Makes a model that the repository lacks.
        prepare_graph: Completes a graph's folder before the engine loads it.
        open_model: Makes what requests need of a model.
        max_loaded_models: Most models at once; 0 for no limit.
        load_timeout_s: Seconds that the engine may take to load one graph.
        settle: Waits for the other processes of this server, where there are any.
        default_precision: Of models for which none is named; None leaves stored ones as they are and makes new ones in
            fp32.
        why_not: Tells why a precision cannot be served here, as the end of a sentence; None where it can.
        place: What tunings need to know of this machine; None where models are never tuned.
        tune_at_load: True to tune each model once, before it serves, where it has no tuning that fits this machine.
        tune_seconds: How long a tuning should take where nobody says.
        clock: Monotonic seconds, by which tunings measure.
    """

    repository: Repository
    engine: Engine
    export: Export
    prepare_graph: PrepareGraph
    open_model: OpenModel
    max_loaded_models: int = 0
    load_timeout_s: float = 600.0
    settle: Settle = _alone
    default_precision: Precision | None = None
    why_not: Callable[[Precision], str | None] = lambda _: None
    place: TuningPlace | None = None
    tune_at_load: bool = False
    tune_seconds: float = 30.0
    clock: Callable[[], float] = time.perf_counter
    _slots: SlotTable = field(default_factory=SlotTable, init=False)
    _stored: StoredModels = field(init=False)
    _maker: Maker = field(init=False)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict, init=False)
    _refresh_turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _refreshing: asyncio.Task[bool] | None = field(default=None, init=False)
    _desired: DesiredModels = field(init=False)
    _reconciler: asyncio.Task[None] | None = field(default=None, init=False)
    _following: set[asyncio.Task[None]] = field(default_factory=set, init=False)
    _started: bool = field(default=False, init=False)
    _wake: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _ledger: Ledger = field(default_factory=Ledger, init=False)
    _tunings: Tunings | None = field(default=None, init=False)
    # Models that were taken out while their graphs may have been in a layout that a sweep tried.
    _displaced: set[str] = field(default_factory=set, init=False)
    _is_stopping: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._stored, self._desired = StoredModels(self.repository), DesiredModels(self.repository)
        self._maker = Maker(self.repository, self.export, self.default_precision)
        if self.place is not None:
            self._tunings = self._make_tunings(self.place)

    async def start(self, models: Iterable[ModelRef] = ()) -> None:
        """Begin to load the models given and those that were loaded last time; return before they are ready."""
        self.engine.on_restart(self._engine_came_back)
        wanted = await self._desired.read()
        for ref in models:
            known = wanted.get(key_of(ref), ref)
            precision, task = ref.precision or known.precision, ref.task or known.task
            wanted[key_of(ref)] = msgspec.structs.replace(known, precision=precision, task=task)
        for ref in wanted.values():
            if self._slots.of(ref) is None:
                self._begin_if_allowed(ref)
        self._started = True
        self._reconciler = asyncio.create_task(self._reconcile_forever(), name="reconcile models")

    async def close(self) -> None:
        """Stop loading and answer what waits; the list of models that should be loaded stays as it is."""
        tunings = self.stop_tuning()
        mine = (self._reconciler, self._refreshing, *self._following, *tunings, *(slot.task for slot in self._slots))
        tasks = [task for task in mine if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for slot in self._slots:
            self._drop(slot, shutting_down())

    def get(self, name: str, *, library: Library | None = None, pretrained: str | None = None) -> LoadedModel:
        """Return a model that can be inferred now.

        Raises:
            ModelNotLoadedError: Nobody asked for it to be loaded.
            ModelLoadingError: It is on its way, or the engine is; try again later.
            ModelConflictError: Several loaded models have this name; ``pretrained`` or ``library`` decides.
        """
        if not self._started:
            raise ModelLoadingError("The server is being started.", param="name", retry_after_s=2.0)
        slot = self._slots.one(name, library, pretrained)
        if slot.model is None or slot.state != "READY":
            raise not_ready(slot)
        return slot.model

    async def load(self, ref: ModelRef) -> bool:
        """Load a model, making it first where the repository lacks it, or has it in another precision than is named.

        A model that is loaded in another precision serves until the new one is made; if that fails, it goes on to. The
        same holds for another task.

        Returns:
            True if it was loaded now, False if it already was.

        Raises:
            ModelLimitError: As many are loaded as may be.
            ModelConflictError: The repository holds another revision under this name.
            SourceError, ExportError, MachineError, RepositoryError, EngineError: What stood in the way.
        """
        slot = self._slots.of(ref)
        if slot is not None and slot.state == "READY" and slot.model is not None:
            check_revision(ref, slot.model.manifest)
            if _is_as_asked(ref, slot.model.manifest):
                await self.settle(slot.number)
                return False
        if slot is None or slot.task_is_done:
            slot = self._begin(ref, slot)
        assert slot.task is not None
        # The caller may go away; the model is loaded all the same.
        await asyncio.shield(asyncio.wait([slot.task]))
        if slot.error is not None:
            raise slot.error
        if slot.task.cancelled() or slot.model is None:
            raise shutting_down() if self._is_stopping else not_loaded(ref.name)
        check_revision(ref, slot.model.manifest)
        if not _is_as_asked(ref, slot.model.manifest):
            return await self.load(ref)  # we waited for another load than ours; now it is our turn
        await self.settle(slot.number)
        return True

    async def unload(self, name: str, *, library: Library | None = None, pretrained: str | None = None) -> None:
        """Unload a model, or stop loading it.

        Raises:
            ModelNotLoadedError: It is not loaded.
        """
        await self.refresh()
        await self._stop(self._slots.one(name, library, pretrained))

    async def delete(self, name: str, *, library: Library | None = None, pretrained: str | None = None) -> None:
        """Unload a model if it is loaded, and remove it from the repository, with its custom source if it has one.

        Raises:
            ModelNotFoundError: The repository does not have it.
        """
        await self.refresh()
        slots = list(self._slots.matching(name, library, pretrained))
        loaded = {slot.key for slot in slots}
        key = await asyncio.to_thread(self._stored.key, name, library, pretrained, besides=loaded)
        for slot in slots:
            await self._stop(slot)
        async with self._changing(key):
            await asyncio.to_thread(self.repository.delete, key)

    async def tune(
        self,
        name: str,
        *,
        library: Library | None = None,
        pretrained: str | None = None,
        seconds: float | None = None,
    ) -> Manifest:
        """Find out how a loaded model runs fastest here, and have it run that way; one model at a time.

        It goes on when the caller goes away; unloading the model ends it.

        Args:
            name: The model.
            library: Where several models share a name.
            pretrained: OpenCLIP's weight tag.
            seconds: How long it should take, as a goal and not as a limit; ``tune_seconds`` if None.

        Returns:
            The manifest, with what was found.

        Raises:
            ModelNotLoadedError: It is not loaded.
            ModelLoadingError: It is not ready yet.
            TuningInProgressError: It is being tuned.
            InvalidRequestError: The settings leave nothing to choose.
            TuningError: The engine failed meanwhile; the model is executed as before.
        """
        tunings = self._tunings_here()
        await self.refresh()
        return await tunings.tune(self._slots.one(name, library, pretrained), seconds)

    async def reset_tuning(self, name: str, *, library: Library | None = None, pretrained: str | None = None) -> bool:
        """Forget how a model was tuned on this machine, and have it run by default; tell whether it was tuned.

        Raises:
            ModelNotFoundError: The repository does not have it.
            ModelLoadingError: It is not ready yet.
            TuningInProgressError: It is being tuned.
            EngineError: The engine could not load a graph.
        """
        tunings = self._tunings_here()
        await self.refresh()
        slot = self._slots.one(name, library, pretrained) if self._slots.matching(name, library, pretrained) else None
        if slot is not None and slot.state != "UNAVAILABLE":
            return await tunings.reset(slot)
        manifest = await self.manifest(name, library=library, pretrained=pretrained)
        key = model_key(manifest.name, manifest.library, manifest.pretrained)
        was_tuned = await tunings.reset_stored(key, manifest)
        if slot is not None:
            # It may be the tuning that the engine could not load.
            slot.retry_at = asyncio.get_running_loop().time()
            self.suspect()
        return was_tuned

    def stop_tuning(self) -> list[asyncio.Task[Any]]:
        """End all tunings at once and begin none: the server is about to stop, and whoever waits for one is told so.

        Returns:
            What is still to end.
        """
        self._is_stopping = True
        tunings = self._tunings.stop() if self._tunings is not None else []
        for slot in self._slots:
            if slot.task is not None and slot.progress is not None and slot.progress.phase == "tune":
                slot.task.cancel()
        return tunings

    async def statistics(self) -> list[GraphStatistics]:
        """Return what the engine has counted for each loaded graph, without what tunings did.

        Raises:
            EngineUnavailableError: The engine does not tell.
        """
        return self._ledger.told(await self.engine.statistics())

    def loaded(self) -> list[LoadedModel]:
        """Return the models that can be inferred now."""
        return self._slots.loaded()

    def statuses(self) -> list[ModelStatus]:
        """Return the models that should be loaded, ready or not."""
        return [status_of(slot) for slot in self._slots]

    async def repository_statuses(self) -> list[ModelStatus]:
        """Return all models of the repository, and those on their way into it, by name."""
        statuses = await asyncio.to_thread(self._stored.statuses)
        statuses |= {slot.key: status_of(slot) for slot in self._slots}
        return sorted(statuses.values(), key=lambda status: (status.name, status.pretrained or ""))

    async def manifest(self, name: str, *, library: Library | None = None, pretrained: str | None = None) -> Manifest:
        """Return the manifest of a model of the repository, loaded or not.

        Raises:
            ModelNotFoundError: The repository does not have it.
            ModelConflictError: Several have this name.
        """
        return await asyncio.to_thread(self._stored.manifest, name, library, pretrained)

    def user_names(self) -> dict[str, str]:
        """Return what the user calls each graph: the model's name, with the tower where a model has several."""
        return self._slots.user_names()

    def progress(self) -> list[tuple[str, Progress]]:
        """Return how far each export in progress is, by the user's name."""
        return [(slot.ref.name, slot.progress) for slot in self._slots if slot.progress is not None]

    def queues(self) -> list[tuple[str, Batcher[Any]]]:
        """Return every queue of the loaded models, by the user's name of its graph."""
        return self._slots.queues()

    async def refresh(self) -> bool:
        """Follow what another process changed in the list of models; tell whether it changed.

        Whoever calls while another call is reading the list waits until that one has taken it over. What was begun goes
        on when its caller gives up: a disk that hangs holds one thread then, not one for every call.
        """
        await self._refresh_turn.acquire()
        turn = self._refreshing = asyncio.create_task(self._refresh(), name="refresh the list of models")
        turn.add_done_callback(self._end_refresh)
        return await asyncio.shield(turn)

    def _end_refresh(self, turn: asyncio.Task[bool]) -> None:
        self._refresh_turn.release()
        if not turn.cancelled():
            turn.exception()  # seen; whoever waits for the turn still gets it

    async def _refresh(self) -> bool:
        if not await self._desired.has_changed():
            return False
        before = set(self._desired.keys)
        desired = await self._desired.read()
        for slot in self._slots:
            if slot.key in before and slot.key not in desired:
                if slot.task is not None:
                    slot.task.cancel()
                self._follow_unload(slot)
        for key, ref in desired.items():
            known = self._slots.of(ref)
            if known is None:
                if key not in before:
                    self._begin_if_allowed(ref)
            elif known.model is not None and known.task_is_done and not _is_as_asked(ref, known.model.manifest):
                self._begin(ref, known)
        return True

    def view(self) -> RegistryView:
        """Return what other processes need to know to serve the same models."""
        return view_of(self._slots, is_started=self._started)

    def suspect(self) -> None:
        """Compare with the engine now: it has come back, or a call has just found a model missing."""
        self._wake.set()

    # --- one model -----------------------------------------------------------------------------------------------

    def _begin(self, ref: ModelRef, slot: Slot | None = None, *, pinned: bool = False) -> Slot:
        if slot is None:
            self._check_limit(ref)
            slot = self._slots.add(ref, pinned=pinned)
        before: ModelRef | None = slot.ref
        if slot.state != "READY" or slot.model is None or _is_as_asked(ref, slot.model.manifest):
            slot.state, before = "LOADING", None  # otherwise it serves until what replaces it is made
        slot.ref = ref
        slot.error, slot.retry_at = None, math.inf
        slot.task = asyncio.create_task(self._load(slot, before), name=f"load {slot.key}")
        return slot

    def _begin_if_allowed(self, ref: ModelRef) -> None:
        try:
            self._begin(ref, pinned=True)
        except ModelLimitError as error:
            log.error("%s", error.message)

    async def _load(self, slot: Slot, before: ModelRef | None) -> None:
        """Bring a slot to READY, or leave the reason in it; never raises but when cancelled.

        Args:
            slot: What is to be loaded.
            before: What the slot held, if that serves until the new one is made.
        """
        try:
            async with self._changing(slot.key):
                entry = await self._maker.obtain(slot)
                if reason := self.why_not(entry.manifest.precision):
                    raise UnsupportedModelError(
                        f"Model {slot.ref.name!r} is stored in {entry.manifest.precision!r}, {reason}",
                        param="precision",
                    )
                if slot.model is not None and slot.model.manifest != entry.manifest:
                    await self._retire(slot, slot.model)
                executions = self.place.executions(entry.manifest) if self.place is not None else {}
                is_displaced = slot.is_displaced or slot.key in self._displaced
                for graph in entry.manifest.graphs:
                    execution = executions.get(graph.role)
                    layout = execution.layout if execution is not None else None
                    await self._load_graph(entry.manifest, graph, layout, anew=is_displaced)
                slot.executions, slot.is_displaced = executions, False
                self._displaced.discard(slot.key)
                if slot.model is None:
                    model = await asyncio.to_thread(self.open_model, entry)
                    model.retune(executions)
                    slot.model = model
                if slot.key not in self._desired.keys or slot.ref.precision or slot.ref.task:
                    await self._desired.remember(slot.key, slot.ref)
            if self._tunings is not None:
                await self._tunings.tune_first(slot)
        except TimeoutError:
            error = EngineUnavailableError("The engine did not load the model in time.", retry_after_s=30)
            self._failed(slot, error, before)
        except IngrainError as error:
            self._failed(slot, error, before)
        except Exception as broken:  # a load must end in a state that can be seen, whatever broke
            log.exception("Loading %r failed", slot.ref.name)
            message = f"Model {slot.ref.name!r} could not be loaded because of an internal error."
            self._failed(slot, machine_fault(broken) or IngrainError(message), before)
        else:
            slot.state, slot.progress, slot.retries = "READY", None, 0
            slot.pinned = True
            log.info("Model %r is ready", slot.ref.name)

    async def _load_graph(self, manifest: Manifest, graph: Graph, layout: Layout | None, *, anew: bool = True) -> None:
        async with asyncio.timeout(self.load_timeout_s):
            if await asyncio.to_thread(self.prepare_graph, manifest, graph, layout) or anew:
                # Triton's reload in place can hang its shutdown when it fails; unload first.
                await self.engine.unload(graph.name)
            await self.engine.load(graph, layout)

    async def _retire(self, slot: Slot, model: LoadedModel) -> None:
        """Stop serving a model whose entry has been replaced; what waits for it is told to come again."""
        slot.state, slot.model = "LOADING", None
        self._slots.renumber(slot)
        model.close(not_ready(slot))
        await self._unload_graphs(slot, model.manifest.graphs)

    def _failed(self, slot: Slot, error: IngrainError, before: ModelRef | None) -> None:
        if before is not None and slot.state == "READY":
            slot.ref, slot.error, slot.progress = before, error, None
            log.error("Model %r stays as it was: %s", slot.ref.name, error.message)
            return
        slot.state, slot.error, slot.progress = "UNAVAILABLE", error, None
        log.error("Model %r is not loaded: %s", slot.ref.name, error.message)
        if not slot.pinned and slot.key not in self._desired.keys:
            self._drop(slot, error)
        elif not isinstance(error, RequestError):
            slot.retry_at = asyncio.get_running_loop().time() + min(_LONGEST_RETRY_S, _FIRST_RETRY_S * 2**slot.retries)
            slot.retries += 1

    async def _stop(self, slot: Slot) -> None:
        graphs = self._take_out(slot)
        if slot.task is not None and not slot.task.done():
            slot.task.cancel()
            await asyncio.wait([slot.task])
        async with self._changing(slot.key):
            if self._slots.of(slot.ref) is not None:
                return  # wanted again while we waited for our turn
            await self._desired.forget(slot.key)
            if not graphs and (entry := await asyncio.to_thread(self._find_quietly, slot.key)) is not None:
                graphs = entry.manifest.graphs  # a load that was stopped halfway may have come this far
            await self._unload_graphs(slot, graphs)

    def _find_quietly(self, key: str) -> Entry | None:
        try:
            return self.repository.find(key)
        except (RepositoryError, MachineError):
            return None

    def _take_out(self, slot: Slot) -> tuple[Graph, ...]:
        """Forget a slot at once, so that a load that comes now begins anew; return what is to be unloaded."""
        graphs = slot.model.manifest.graphs if slot.model is not None else ()
        slot.state = "UNLOADING"
        if self._tunings is not None:
            self._tunings.end(slot.key)
        if slot.is_displaced:
            self._displaced.add(slot.key)
        self._drop(slot, not_loaded(slot.ref.name))
        return graphs

    def _follow_unload(self, slot: Slot) -> None:
        """Unload what another process has unloaded: with an engine of our own, the graphs are still in it."""
        graphs = self._take_out(slot)

        async def unload() -> None:
            async with self._changing(slot.key):
                if self._slots.of(slot.ref) is None:
                    await self._unload_graphs(slot, graphs)

        task = asyncio.create_task(unload(), name=f"unload {slot.key}")
        self._following.add(task)
        task.add_done_callback(self._following.discard)

    async def _unload_graphs(self, slot: Slot, graphs: tuple[Graph, ...]) -> None:
        self._ledger.forget(graph.name for graph in graphs)
        await self.settle(None)  # nobody sends batches any more; those on their way are finished by the engine
        for graph in graphs:
            try:
                await self.engine.unload(graph.name)
            except EngineError as error:
                log.warning("Model %r is dropped, but the engine did not unload it: %s", slot.ref.name, error.message)

    def _drop(self, slot: Slot, error: IngrainError) -> None:
        self._slots.remove(slot)
        if slot.model is not None:
            slot.model.close(error)
            slot.model = None

    @asynccontextmanager
    async def _changing(self, key: str) -> AsyncIterator[None]:
        """Wait until nobody else exports, loads or unloads this model, in any process: Triton does not bear it."""
        async with self._locks.setdefault(key, asyncio.Lock()):
            while True:
                with self.repository.try_changing(key) as claimed:
                    if claimed:
                        yield
                        return
                await asyncio.sleep(_CLAIM_EVERY_S)

    def _check_limit(self, ref: ModelRef) -> None:
        loaded = sorted(slot.ref.name for slot in self._slots)
        if self.max_loaded_models and len(loaded) >= self.max_loaded_models:
            raise ModelLimitError(
                f"Model {ref.name!r} cannot be loaded: MAX_LOADED_MODELS is {self.max_loaded_models}, and "
                f"{', '.join(map(repr, loaded))} {'is' if len(loaded) == 1 else 'are'} loaded. "
                "Unload one with POST /unload_model.",
                param="name",
                facts={"loadedModels": loaded, "limit": self.max_loaded_models},
            )

    # --- tunings -------------------------------------------------------------------------------------------------

    def _make_tunings(self, place: TuningPlace) -> Tunings:
        def make_tuner() -> Tuner:
            return Tuner(
                self.repository,
                self.engine,
                place,
                load_graph=self._load_graph,
                settle=self.settle,
                ledger=self._ledger,
                clock=self.clock,
            )

        return Tunings(
            make_tuner,
            self.repository,
            place,
            self._slots,
            changing=self._changing,
            at_load=self.tune_at_load,
            seconds=self.tune_seconds,
        )

    def _tunings_here(self) -> Tunings:
        if self._tunings is None:
            raise InvalidRequestError("Models are not tuned on this server.", param="name")
        return self._tunings

    # --- all models ----------------------------------------------------------------------------------------------

    def _engine_came_back(self) -> None:
        """Trust no model until it has been looked for: the engine has forgotten some or all."""
        for slot in self._slots:
            if slot.state == "READY":
                slot.state = "LOADING"
        self._ledger.forget()
        self._wake.set()

    async def _reconcile_forever(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_RECONCILE_EVERY_S):
                    await self._wake.wait()
            except TimeoutError:
                pass  # time for a look of our own
            self._wake.clear()
            try:
                await self.refresh()
                await self._retry_and_repair()
            except IngrainError as error:
                log.warning("Models could not be compared with the engine: %s", error.message)
            except Exception:  # whatever broke, the next look may succeed, and models must not stay lost
                log.exception("Models could not be compared with the engine")

    async def _retry_and_repair(self) -> None:
        now = asyncio.get_running_loop().time()
        for slot in self._slots:
            if self._slots.of(slot.ref) is not slot:
                continue  # unloaded while we waited for another
            if slot.state == "UNAVAILABLE" and slot.retry_at <= now:
                self._begin(slot.ref, slot)
            elif slot.model is not None and slot.task_is_done and await self.engine.live():
                await self._repair(slot, slot.model)

    async def _repair(self, slot: Slot, model: LoadedModel) -> None:
        """Load a model again that the engine lacks; another process may have unloaded it since we read the list."""
        present = [await self.engine.ready(graph.name) for graph in model.manifest.graphs]
        if slot.state not in ("READY", "LOADING") or (slot.task is not None and not slot.task.done()):
            return
        if all(present) and not slot.is_displaced:
            slot.state = "READY"
            return
        await self.refresh()
        if self._slots.of(slot.ref) is slot:
            log.warning("Model %r is gone from the engine and is loaded again", slot.ref.name)
            self._begin(slot.ref, slot)


def _is_as_asked(ref: ModelRef, manifest: Manifest) -> bool:
    """Tell whether a model is in the precision, and for the task, that is named; any will do where none is."""
    return ref.precision in (None, manifest.precision) and ref.task in (None, manifest.task)
