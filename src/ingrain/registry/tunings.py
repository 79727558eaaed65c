"""Runs tunings one at a time, and ends them with their model or with the server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ingrain.errors import (
    EngineUnavailableError,
    InvalidRequestError,
    ModelConflictError,
    TuningError,
    TuningInProgressError,
)
from ingrain.progress import Progress
from ingrain.registry.model_locks import ModelLocks
from ingrain.registry.slots import Slot, SlotTable, not_loaded, not_ready
from ingrain.registry.tuner import Tuner
from ingrain.repository.manifest import Manifest
from ingrain.repository.store import Repository
from ingrain.tuning.machine import TuningMachine, graphs_digest

_RETRY_S = 1.0

Done = TypeVar("Done")

log = logging.getLogger("ingrain.registry")


@dataclass(slots=True, kw_only=True)
class Tunings:
    """The tunings in progress.

    Attributes:
        at_load: True to tune each model once, before it serves.
        seconds: How long a tuning should take by default.
        is_stopping: True once the server stops; no tuning begins then.
    """

    tuner: Tuner
    repository: Repository
    place: TuningMachine
    slots: SlotTable
    locks: ModelLocks
    at_load: bool
    seconds: float
    is_stopping: bool = field(default=False, init=False)
    _turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1), init=False)
    _tasks: dict[str, asyncio.Task[Any]] = field(default_factory=dict, init=False)
    # Key and graphs of models whose tuning at load failed: with each load it would only fail again.
    _untunable: set[tuple[str, str]] = field(default_factory=set, init=False)

    async def tune(self, slot: Slot, seconds: float | None) -> Manifest:
        """Tune a model, and return its manifest with the result.

        Args:
            slot: Of the model.
            seconds: How long it should take.

        Raises:
            ModelLoadingError: It is not ready yet.
            TuningInProgressError: It is being tuned.
            InvalidRequestError: The settings leave nothing to choose.
            TuningError: The engine failed meanwhile.
        """
        self._check_idle(slot)
        if not await self._has_candidates(_ready_manifest(slot)):
            raise InvalidRequestError(
                f"There is nothing to tune about model {slot.ref.name!r}: all of {', '.join(self.place.given)} are "
                "set.",
                param="name",
            )

        async def work() -> Manifest:
            await self.tuner.tune(slot, seconds or self.seconds)
            assert slot.model is not None
            return slot.model.manifest

        return await self._run(slot, work)

    async def reset(self, slot: Slot) -> bool:
        """Remove a loaded model's tunings of this machine, and execute it by default; return whether there were any.

        Raises:
            ModelLoadingError: It is not ready yet.
            TuningInProgressError: It is being tuned.
            EngineError: The engine could not load a graph.
        """
        self._forget_failures(slot.key)
        self._check_idle(slot)
        _ready_manifest(slot)
        return await self._run(slot, lambda: self.tuner.reset(slot))

    async def reset_stored(self, key: str, manifest: Manifest) -> bool:
        """Remove the tunings of this machine from a model that is not executed; return whether there were any.

        Args:
            key: Of the model.
            manifest: Its manifest in the repository.
        """
        self._forget_failures(key)
        async with self.locks.hold(key):
            entry = await asyncio.to_thread(self.repository.change_tunings, key, manifest, self.place.without_tunings)
        return entry.manifest.tunings != manifest.tunings

    async def tune_first(self, slot: Slot) -> None:
        """Tune a model that has just been loaded, before it serves, if tuning at load is on and it lacks a tuning.

        Raises:
            EngineUnavailableError: It failed, and the model's graphs are in a layout that nobody chose.
        """
        if not self.at_load or slot.model is None:
            return
        manifest = slot.model.manifest
        identity = slot.key, graphs_digest(manifest)
        if identity in self._untunable or self.place.fitting(manifest) is not None:
            return
        if not await self._has_candidates(manifest) or self.is_stopping:
            return
        slot.progress = Progress(phase="tune")
        try:
            async with self._turn, self.locks.hold(slot.key):
                await self.tuner.tune(slot, self.seconds)
        except (TuningError, ModelConflictError) as error:
            self._untunable.add(identity)
            log.error("Model %r is not tuned: %s", slot.ref.name, error.message)
            if slot.is_displaced:
                raise EngineUnavailableError(error.message, retry_after_s=_RETRY_S) from error

    def end(self, key: str) -> None:
        """Cancel the tuning of a model, if there is one; it may still wait for its turn."""
        if (task := self._tasks.get(key)) is not None:
            task.cancel()

    def stop(self) -> list[asyncio.Task[Any]]:
        """Cancel all tunings and begin none any more; return the cancelled tasks."""
        self.is_stopping = True
        tasks = list(self._tasks.values())
        for slot in self.slots:
            if slot.task is not None and slot.progress is not None and slot.progress.phase == "tune":
                tasks.append(slot.task)
        for task in tasks:
            task.cancel()
        return tasks

    async def _has_candidates(self, manifest: Manifest) -> bool:
        return any(await asyncio.to_thread(lambda: [bool(self.place.candidates(one)) for one in manifest.graphs]))

    def _forget_failures(self, key: str) -> None:
        self._untunable = {one for one in self._untunable if one[0] != key}

    def _check_idle(self, slot: Slot) -> None:
        """Refuse a model that is being tuned, or waits for it."""
        if slot.key in self._tasks:
            raise TuningInProgressError(
                f"Model {slot.ref.name!r} is being tuned. Wait until that has ended, or unload the model to end it.",
                param="name",
            )

    async def _run(self, slot: Slot, work: Callable[[], Awaitable[Done]]) -> Done:
        """Do what changes how a ready model is executed, one model at a time; it goes on if the caller goes away."""

        async def in_turn() -> Done:
            async with self._turn:
                if slot not in self.slots:
                    raise not_loaded(slot.ref.name)
                _ready_manifest(slot)
                # Whoever unloads the model cancels this, and whoever loads it waits for it.
                slot.task = asyncio.current_task()
                async with self.locks.hold(slot.key):
                    return await work()

        self._check_idle(slot)
        if self.is_stopping:
            raise shutting_down()
        task = asyncio.create_task(in_turn(), name=f"tune {slot.key}")
        self._tasks[slot.key] = task

        def forget(task: asyncio.Task[Done]) -> None:
            del self._tasks[slot.key]
            if not task.cancelled():
                task.exception()  # marks it as seen, should nobody wait for it any more

        task.add_done_callback(forget)
        await asyncio.shield(asyncio.wait([task]))
        if task.cancelled():
            raise shutting_down() if self.is_stopping else not_loaded(slot.ref.name)
        return task.result()


def shutting_down() -> EngineUnavailableError:
    """Return the error for callers whose load or tuning is ended because the server stops."""
    return EngineUnavailableError("The server is shutting down.", retry_after_s=5)


def _ready_manifest(slot: Slot) -> Manifest:
    """Return the manifest of a model that is ready and that nobody changes.

    Raises:
        ModelLoadingError: It is not ready, or is being changed.
    """
    if slot.model is None or slot.state != "READY" or not slot.task_is_done:
        raise not_ready(slot)
    return slot.model.manifest
