"""The registry: which models should be loaded, and every way to change that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

from ingrain.engine.protocol import Engine, GraphStatistics
from ingrain.progress import Progress
from ingrain.registry.graphs import EngineGraphs, PrepareGraph, Settle
from ingrain.registry.loader import Loader, OpenModel, WhyNot
from ingrain.registry.maker import Export, Maker, check_revision
from ingrain.registry.model_locks import ModelLocks
from ingrain.registry.models_to_load import DesiredModels
from ingrain.registry.protocol import Models
from ingrain.registry.reconciler import Reconciler
from ingrain.registry.slots import not_loaded
from ingrain.registry.snapshot import RegistryView, view_of
from ingrain.registry.status import ModelStatus, status_of
from ingrain.registry.stored import StoredModels
from ingrain.registry.tuner import Tuner
from ingrain.registry.tunings import Tunings, shutting_down
from ingrain.repository.manifest import Manifest
from ingrain.repository.models_to_load import ModelRef
from ingrain.repository.names import model_key
from ingrain.repository.store import Repository
from ingrain.tuning.machine import TuningMachine
from ingrain.vocabulary import Library, Precision


async def _alone(number: int | None) -> None:
    del number  # there are no other processes to wait for


class Registry(Models):
    """Loads and unloads models on request, and keeps them loaded whatever happens to the engine.

    The list of models that should be loaded lies in the repository. Processes that share a repository follow it, so
    that what one loads or unloads the others serve or drop within seconds, and what was loaded is loaded again after
    a restart of the server or of Triton.

    Attributes:
        settle: Waits for the other processes of this server, where there are any.

    Args:
        repository: Where published models are.
        engine: Runs their graphs.
        export: Makes a model that the repository lacks.
        prepare_graph: Writes a graph's configuration before the engine loads it.
        open_model: Opens a model whose graphs are loaded.
        place: What tunings need to know of this machine.
        max_loaded_models: Most models at once; 0 for no limit.
        load_timeout_s: Seconds that the engine may take to load one graph.
        default_precision: Of models for which none is named; None leaves stored ones as they are and makes new ones in
            fp32.
        why_not: Tells which precisions cannot be served.
        tune_at_load: True to tune each model once, before it serves, where it has no tuning that fits this machine.
        tune_seconds: How long a tuning should take by default.
        clock: Monotonic seconds, by which tunings measure.
    """

    def __init__(
        self,
        *,
        repository: Repository,
        engine: Engine,
        export: Export,
        prepare_graph: PrepareGraph,
        open_model: OpenModel,
        place: TuningMachine,
        max_loaded_models: int = 0,
        load_timeout_s: float = 600.0,
        default_precision: Precision | None = None,
        why_not: WhyNot = lambda _: None,
        tune_at_load: bool = False,
        tune_seconds: float = 30.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__()
        self.repository = repository
        self.engine = engine
        self.settle: Settle = _alone
        self.place = place
        self._stored = StoredModels(repository)
        self._locks = ModelLocks(repository)
        self._graphs = EngineGraphs(
            engine=engine, prepare=prepare_graph, timeout_s=load_timeout_s, settle=lambda number: self.settle(number)
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
        )
        self._reconciler = Reconciler(slots=self.slots, desired=desired, loader=self._loader, graphs=self._graphs)

    async def start(self, models: Iterable[ModelRef] = ()) -> None:
        """Begin to load the models given and those that were loaded last time; return before they are ready."""
        await self._reconciler.start(models)

    async def close(self) -> None:
        """Stop loading and answer waiting requests; the list of models that should be loaded stays as it is."""
        tasks: list[asyncio.Task[Any]] = [*self.stop_tuning(), *self._reconciler.tasks(), *self._loader.unloads]
        tasks += [slot.task for slot in self.slots if slot.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for slot in self.slots:
            self.slots.remove(slot, shutting_down())

    async def load(self, ref: ModelRef) -> bool:
        """Load a model; make it first where the repository lacks it, or has it in another precision or task.

        A model that is loaded in another precision or task serves until the new one is made; if that fails, it goes on.

        Returns:
            True if it was loaded now, False if it already was.

        Raises:
            ModelLimitError: As many are loaded as may be.
            ModelConflictError: The repository holds another revision under this name.
            SourceError, ExportError, MachineError, RepositoryError, EngineError: It could not be made or loaded.
        """
        slot = self.slots.of(ref)
        if slot is not None and slot.state == "READY" and slot.model is not None:
            check_revision(ref, slot.model.manifest)
            if ref.is_met_by(slot.model.manifest):
                await self.settle(slot.number)
                return False
        if slot is None or slot.task_is_done:
            slot = self._loader.begin(ref, slot)
        assert slot.task is not None
        # The caller may go away; the model is loaded all the same.
        await asyncio.shield(asyncio.wait([slot.task]))
        if slot.error is not None:
            raise slot.error
        if slot.task.cancelled() or slot.model is None:
            raise shutting_down() if self._tunings.is_stopping else not_loaded(ref.name)
        check_revision(ref, slot.model.manifest)
        if not ref.is_met_by(slot.model.manifest):
            return await self.load(ref)  # we waited for another load than ours; now it is our turn
        await self.settle(slot.number)
        return True

    async def unload(self, name: str, *, library: Library | None = None, pretrained: str | None = None) -> None:
        """Unload a model, or stop loading it.

        Raises:
            ModelNotLoadedError: It is not loaded.
        """
        await self.refresh()
        await self._loader.unload(self.slots.one(name, library, pretrained))

    async def delete(self, name: str, *, library: Library | None = None, pretrained: str | None = None) -> None:
        """Unload a model if it is loaded, and remove it from the repository, with its custom source if it has one.

        Raises:
            ModelNotFoundError: The repository does not have it.
        """
        await self.refresh()
        slots = list(self.slots.matching(name, library, pretrained))
        loaded = {slot.key for slot in slots}
        key = await asyncio.to_thread(self._stored.key, name, library, pretrained, besides=loaded)
        for slot in slots:
            await self._loader.unload(slot)
        async with self._locks.hold(key):
            await asyncio.to_thread(self.repository.delete, key)

    async def tune(
        self,
        name: str,
        *,
        library: Library | None = None,
        pretrained: str | None = None,
        seconds: float | None = None,
    ) -> Manifest:
        """Find out how a loaded model runs fastest here, and execute it that way; one model at a time.

        It goes on when the caller goes away; unloading the model ends it.

        Args:
            name: The model.
            library: Where several models share a name.
            pretrained: OpenCLIP's weight tag.
            seconds: How long it should take, as a goal and not as a limit; ``tune_seconds`` if None.

        Returns:
            The manifest, with the tuning.

        Raises:
            ModelNotLoadedError: It is not loaded.
            ModelLoadingError: It is not ready yet.
            TuningInProgressError: It is being tuned.
            InvalidRequestError: The settings leave nothing to choose.
            TuningError: The engine failed meanwhile; the model is executed as before.
        """
        await self.refresh()
        return await self._tunings.tune(self.slots.one(name, library, pretrained), seconds)

    async def reset_tuning(self, name: str, *, library: Library | None = None, pretrained: str | None = None) -> bool:
        """Remove a model's tunings of this machine, and execute it by default; return whether there were any.

        Raises:
            ModelNotFoundError: The repository does not have it.
            ModelLoadingError: It is not ready yet.
            TuningInProgressError: It is being tuned.
            EngineError: The engine could not load a graph.
        """
        await self.refresh()
        slot = self.slots.one(name, library, pretrained) if self.slots.matching(name, library, pretrained) else None
        if slot is not None and slot.state != "UNAVAILABLE":
            return await self._tunings.reset(slot)
        manifest = await self.manifest(name, library=library, pretrained=pretrained)
        key = model_key(manifest.name, manifest.library, manifest.pretrained)
        was_tuned = await self._tunings.reset_stored(key, manifest)
        if slot is not None:
            # It may be the tuning that the engine could not load.
            slot.retry_at = asyncio.get_running_loop().time()
            self.suspect()
        return was_tuned

    def stop_tuning(self) -> list[asyncio.Task[Any]]:
        """Cancel all tunings and begin none: the server is about to stop, and callers that wait are told so.

        Returns:
            The cancelled tasks.
        """
        return self._tunings.stop()

    async def refresh(self) -> bool:
        """Follow what another process changed in the list of models; return whether it changed."""
        return await self._reconciler.refresh()

    def suspect(self) -> None:
        """Compare with the engine now: it has come back, or a call has just found a model missing."""
        self._reconciler.wake()

    async def statistics(self) -> list[GraphStatistics]:
        """Return the engine's counts of each loaded graph, without those of tunings.

        Raises:
            EngineUnavailableError: The engine does not answer.
        """
        return await self._graphs.statistics()

    async def repository_statuses(self) -> list[ModelStatus]:
        """Return all models of the repository, and those on their way into it, by name."""
        statuses = await asyncio.to_thread(self._stored.statuses)
        statuses |= {slot.key: status_of(slot) for slot in self.slots}
        return sorted(statuses.values(), key=lambda status: (status.name, status.pretrained or ""))

    async def manifest(self, name: str, *, library: Library | None = None, pretrained: str | None = None) -> Manifest:
        """Return the manifest of a model of the repository, loaded or not.

        Raises:
            ModelNotFoundError: The repository does not have it.
            ModelConflictError: Several have this name.
        """
        return await asyncio.to_thread(self._stored.manifest, name, library, pretrained)

    def progress(self) -> list[tuple[str, Progress]]:
        """Return the progress of exports and tunings, by the user's name of the model."""
        return [(slot.ref.name, slot.progress) for slot in self.slots if slot.progress is not None]

    def view(self) -> RegistryView:
        """Return the state of the table for processes that follow it."""
        return view_of(self.slots)
