"""The registry: the models that should be loaded, and the operations that change them."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Iterable
from typing import Any

from ingrain.engine.protocol import Engine, GraphStatistics, SelfLoading
from ingrain.machine_faults import naming_repository_faults
from ingrain.progress import Progress
from ingrain.registry.demand import OnDemand
from ingrain.registry.graphs import EngineGraphs, Settle
from ingrain.registry.loader import Loader, OpenModel, WhyNot
from ingrain.registry.maker import Export, Maker, check_revision
from ingrain.registry.memory import MemoryPolicy, ModelMemory
from ingrain.registry.model_locks import ModelLocks
from ingrain.registry.models_to_load import DesiredModels
from ingrain.registry.protocol import Models
from ingrain.registry.reconciler import Reconciler
from ingrain.registry.slots import Slot, not_loaded
from ingrain.registry.snapshot import RegistryView, view_of
from ingrain.registry.status import ModelStatus, status_of
from ingrain.registry.stored import StoredModels
from ingrain.registry.taken_back import take_back
from ingrain.registry.tuner import Tuner
from ingrain.registry.tunings import Tunings, shutting_down
from ingrain.repository.graph_folder import GraphFolders
from ingrain.repository.manifest import Manifest
from ingrain.repository.models_to_load import ModelRef
from ingrain.repository.names import model_key
from ingrain.repository.store import Repository
from ingrain.tuning.machine import TuningMachine
from ingrain.vocabulary import Library, Precision

_SOON_S = 0.2  # longer than a model counts as just used


async def _alone(number: int | None) -> None:
    del number  # there are no other processes to wait for


class Registry(Models):
    """Loads and unloads models on request, and reloads them when the engine loses them.

    The repository stores the list of models that should be loaded. All processes that share the repository follow the
    list: a model that one process loads or unloads, the others load or unload within seconds. After a restart of the
    server or of Triton the models are loaded again.

    Attributes:
        settle: Waits for the other processes of this server, if there are any.

    Args:
        repository: The model repository.
        engine: Runs the graphs.
        export: Exports a model that is missing in the repository.
        folders: Writes the configurations of graphs before the engine loads them.
        open_model: Opens a model whose graphs are loaded.
        place: Describes this machine for tunings.
        max_loaded_models: Limit of loaded models; 0 for no limit.
        load_timeout_s: Timeout in seconds for loading one graph.
        default_precision: Precision of models for which the request names none; None takes stored models as they are
            and exports new ones in fp32.
        why_not: Returns why a precision cannot be served.
        tune_at_load: True to tune each model before it first serves, unless it has a tuning for this machine.
        tune_seconds: Default duration of a tuning.
        clock: Monotonic seconds for the measurements of tunings.
        memory: Which models may be loaded at the same time.
    """

    def __init__(
        self,
        *,
        repository: Repository,
        engine: Engine,
        export: Export,
        folders: GraphFolders,
        open_model: OpenModel,
        place: TuningMachine,
        max_loaded_models: int = 0,
        load_timeout_s: float = 600.0,
        default_precision: Precision | None = None,
        why_not: WhyNot = lambda _: None,
        tune_at_load: bool = False,
        tune_seconds: float = 30.0,
        clock: Callable[[], float] = time.perf_counter,
        memory: MemoryPolicy = MemoryPolicy(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__()
        self.loads_on_demand = memory.on_demand
        self.memory_policy = memory
        self.repository = repository
        repository.in_use = lambda: [slot.key for slot in self.slots if not slot.is_resting]
        self.engine = engine
        self.settle: Settle = _alone
        self.place = place
        self._stored = StoredModels(repository)
        self._check_turn = asyncio.Lock()
        self._locks = ModelLocks(repository)
        if isinstance(engine, SelfLoading):
            engine.hold = self._locks.hold
        self._graphs = EngineGraphs(
            engine=engine, folders=folders, timeout_s=load_timeout_s, settle=lambda number: self.settle(number)
        )
        self._tunings = Tunings(
            tuner=Tuner(repository=repository, graphs=self._graphs, place=place, clock=clock),
            repository=repository,
            place=place,
            slots=self.slots,
            locks=self._locks,
            at_load=tune_at_load,
            seconds=tune_seconds,
        )
        desired = DesiredModels(repository)
        self._loader = Loader(
            repository=repository,
            slots=self.slots,
            desired=desired,
            locks=self._locks,
            maker=Maker(repository, export, default_precision),
            graphs=self._graphs,
            tunings=self._tunings,
            place=place,
            open_model=open_model,
            why_not=why_not,
            max_models=max_loaded_models,
            policy=memory,
            memory=ModelMemory(engine, memory.estimate),
        )
        self._on_demand = OnDemand(slots=self.slots, stored=self._stored, loader=self._loader)
        self._reconciler = Reconciler(slots=self.slots, desired=desired, loader=self._loader, graphs=self._graphs)

    async def start(self, models: Iterable[ModelRef] = ()) -> None:
        """Start to load the given models and those of the last run; return before they are ready."""
        await self._reconciler.start(models)

    async def close(self) -> None:
        """Stop loading and fail waiting requests; the list of models that should be loaded stays unchanged."""
        tasks: list[asyncio.Task[Any]] = [*self.stop_tuning(), *self._reconciler.tasks(), *self._loader.unloads]
        tasks += [slot.task for slot in self.slots if slot.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for slot in self.slots:
            self.slots.remove(slot, shutting_down())

    async def load(self, ref: ModelRef) -> bool:
        """Load a model; export it first if it is missing in the repository or stored in another precision or task.

        A model that a shared engine has loaded with other settings than this server's is loaded again with these.
        A model that is loaded in another precision or task serves until the new one is exported, and if that fails.

        Returns:
            True if the model was loaded now, False if it was loaded already.

        Raises:
            ModelLimitError: The limit of loaded models is reached.
            ModelConflictError: The repository has another revision under this name.
            SourceError, ExportError, MachineError, RepositoryError, EngineError: Exporting or loading failed.
        """
        slot = await self._slot_of(ref)
        if slot is not None and slot.state == "READY" and slot.model is not None:
            check_revision(ref, slot.model.manifest)
            if ref.is_met_by(slot.model.manifest) and not await self._loader.has_other_settings(slot):
                await self._loader.adopt(slot, ref)
                await self.settle(slot.number)
                return False
            slot = await self._slot_of(ref)
        by_command = slot is None or slot.task_is_done
        if slot is None or by_command:
            slot = self._loader.begin(ref, slot, by_command=True)
        assert slot.task is not None
        # Shielded: the model is loaded even if the caller is cancelled.
        await asyncio.shield(asyncio.wait([slot.task]))
        if slot.error is not None:
            raise slot.error
        if slot.task.cancelled() or slot.model is None:
            raise shutting_down() if self._tunings.is_stopping else not_loaded(ref.name)
        check_revision(ref, slot.model.manifest)
        if not ref.is_met_by(slot.model.manifest) or (not by_command and await self._loader.has_other_settings(slot)):
            return await self.load(ref)  # the awaited task loaded another precision, task or settings; load these now
        await self._loader.adopt(slot, ref)
        await self.settle(slot.number)
        return True

    async def stop_loading(self, ref: ModelRef) -> bool:
        """Stop the load that a command began; what was served before, in another precision, is still served.

        A model that was listed and not loaded stays so.

        Returns:
            False if there is none: the command waits for something that another one, a request or the server began.

        Raises:
            MachineError: The list of models cannot be written; the load goes on.
        """
        slot = self.slots.of(ref)
        if slot is None or slot.command != ref:
            return False
        if slot.task is None or slot.task_is_done:
            return True  # too late: it has ended
        if slot.state == "READY":
            slot.task.cancel()
            await asyncio.wait([slot.task])
        elif slot.before is not None:
            await take_back(self._loader, slot, slot.before)
        else:
            await self._check_writable()
            await self._loader.unload(slot)
        return True

    def queue_position(self, ref: ModelRef) -> int | None:
        """Return how many conversions come before that of a model; None if it does not wait for others."""
        return self._loader.maker.queue_position(ref.key)

    async def _slot_of(self, ref: ModelRef) -> Slot | None:
        """Return the slot of a model, after the model was unloaded if that is being done."""
        while (slot := self.slots.of(ref)) is not None and slot.state == "UNLOADING" and not slot.task_is_done:
            assert slot.task is not None
            await asyncio.wait([slot.task])
        return slot

    async def load_on_demand(self, name: str, library: Library | None, pretrained: str | None) -> Slot:
        """Load a model of the repository for a request, and return its slot when it serves in all processes."""
        slot = await self._on_demand.ready(self.own_name(name), library, pretrained)
        await self.settle(slot.number)
        return slot

    async def _demand(self, name: str, library: Library | None, pretrained: str | None) -> None:
        await self.load_on_demand(name, library, pretrained)

    def moves(self) -> dict[str, int]:
        """Return how often models were loaded or unloaded without a command, by reason."""
        return {**self._loader.room.unloaded, "demand": self._on_demand.loads}

    def _kept_alive(self, slot: Slot) -> None:
        if slot.keep_alive_s is not None and 0 <= slot.keep_alive_s < _SOON_S:
            asyncio.get_running_loop().call_later(_SOON_S, self._loader.room.put_away_if_idle, slot)

    def used(self, number: int, at: float, keep_alive_s: float | None) -> None:
        """Note when a worker process used a model last, and what its requests said about the time in memory."""
        for slot in self.slots:
            if slot.number == number:
                slot.used_at = max(slot.used_at, at)
                if keep_alive_s is not None:
                    slot.keep_alive_s = keep_alive_s
                    self._kept_alive(slot)

    async def unload(self, name: str, *, library: Library | None = None, pretrained: str | None = None) -> None:
        """Unload a model, or stop loading it.

        Raises:
            ModelNotLoadedError: The model is not loaded.
        """
        await self.refresh()
        self.slots.one(name, library, pretrained)
        await self._check_writable()
        await self._loader.unload(self.slots.one(name, library, pretrained))

    async def delete(self, name: str, *, library: Library | None = None, pretrained: str | None = None) -> None:
        """Unload a model if it is loaded, and remove it and its custom source from the repository.

        Raises:
            ModelNotFoundError: The model is not in the repository.
        """
        await self.refresh()
        slots = list(self.slots.matching(name, library, pretrained))
        loaded = {slot.key for slot in slots}
        key = await asyncio.to_thread(self._stored.key, name, library, pretrained, besides=loaded)
        await self._check_writable()
        with naming_repository_faults():
            for slot in slots:
                await self._loader.unload(slot)
            async with self._locks.hold(key):
                await asyncio.to_thread(self.repository.delete, key)
            for slot in list(self.slots.matching(name, library, pretrained)):
                if slot.key == key and slot.is_on_demand:  # a request has loaded it again meanwhile
                    await self._loader.unload(slot)

    async def tune(
        self,
        name: str,
        *,
        library: Library | None = None,
        pretrained: str | None = None,
        seconds: float | None = None,
    ) -> Manifest:
        """Find the fastest execution of a loaded model on this machine, and apply it; one model at a time.

        The tuning continues if the caller is cancelled; unloading the model ends it.

        Args:
            name: The model.
            library: Source library, if several models share the name.
            pretrained: OpenCLIP's weight tag.
            seconds: Target duration, not a limit; ``tune_seconds`` if None.

        Returns:
            The manifest, with the tuning.

        Raises:
            ModelNotLoadedError: The model is not loaded.
            ModelLoadingError: The model is not ready yet.
            TuningInProgressError: The model is being tuned.
            InvalidRequestError: The settings fix every value.
            TuningError: The engine failed; the model is executed as before.
        """
        await self.refresh()
        await self._check_writable()
        with naming_repository_faults():
            return await self._tunings.tune(self.slots.one(name, library, pretrained), seconds)

    async def reset_tuning(self, name: str, *, library: Library | None = None, pretrained: str | None = None) -> bool:
        """Remove a model's tunings for this machine, and restore the default execution; return True if it had any.

        Raises:
            ModelNotFoundError: The model is not in the repository.
            ModelLoadingError: The model is not ready yet.
            TuningInProgressError: The model is being tuned.
            EngineError: The engine could not load a graph.
        """
        await self.refresh()
        await self._check_writable()
        slot = self.slots.one(name, library, pretrained) if self.slots.matching(name, library, pretrained) else None
        if slot is not None and slot.state != "UNAVAILABLE":
            return await self._tunings.reset(slot)
        manifest = await self.manifest(name, library=library, pretrained=pretrained)
        key = model_key(manifest.name, manifest.library, manifest.pretrained)
        was_tuned = await self._tunings.reset_stored(key, manifest)
        if slot is not None:
            # The removed tuning may be the reason why loading failed; retry now.
            slot.retry_at = asyncio.get_running_loop().time()
            self.suspect()
        return was_tuned

    async def _check_writable(self) -> None:
        """Check that the repository can be changed; calls go on in the order in which they came."""
        async with self._check_turn:
            await asyncio.to_thread(self.repository.check_writable)

    def stop_tuning(self) -> list[asyncio.Task[Any]]:
        """Cancel all tunings and start no more, before shutdown; return the cancelled tasks."""
        return self._tunings.stop()

    async def refresh(self) -> bool:
        """Apply changes that another process made to the list of models; return True if it changed."""
        return await self._reconciler.refresh()

    def suspect(self) -> None:
        """Compare with the engine now, because it restarted or a call has found a model missing."""
        self._reconciler.wake()

    async def statistics(self) -> list[GraphStatistics]:
        """Return the engine's statistics of each loaded graph, without the batches of tunings.

        Raises:
            EngineUnavailableError: The engine does not answer.
        """
        return await self._graphs.statistics()

    async def repository_statuses(self) -> list[ModelStatus]:
        """Return all models of the repository and those being exported, sorted by name."""
        statuses = await asyncio.to_thread(self._stored.statuses)
        statuses |= {slot.key: self._status(slot) for slot in self.slots}
        return sorted(statuses.values(), key=lambda status: (status.name, status.pretrained or ""))

    def _status(self, slot: Slot) -> ModelStatus:
        return dataclasses.replace(status_of(slot), is_pinned=self.memory_policy.keeps(slot))

    async def manifest(self, name: str, *, library: Library | None = None, pretrained: str | None = None) -> Manifest:
        """Return the manifest of a model of the repository, loaded or not.

        Raises:
            ModelNotFoundError: The model is not in the repository.
            ModelConflictError: Several models have this name.
        """
        return await asyncio.to_thread(self._stored.manifest, name, library, pretrained)

    def progress(self) -> list[tuple[str, Progress]]:
        """Return the progress of exports and tunings, by the user's name of the model."""
        return [(slot.ref.name, slot.progress) for slot in self.slots if slot.progress is not None]

    def view(self) -> RegistryView:
        """Return a snapshot of the table for the worker processes."""
        return view_of(self.slots)
