"""Runs tunings one at a time, and cancels them when their model is unloaded or the server stops."""

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
        seconds: Default duration of a tuning.
        is_stopping: True once the server stops; no tuning starts then.
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
    # Key and graph digest of models whose tuning at load failed; it would fail again at each load.
    _untunable: set[tuple[str, str]] = field(default_factory=set, init=False)

    async def tune(self, slot: Slot, seconds: float | None) -> Manifest:
        """Tune a model, and return its manifest with the result.

        Args:
            slot: The model's slot.
            seconds: Target duration; None for the default.

        Raises:
            ModelLoadingError: The model is not ready yet.
            TuningInProgressError: The model is being tuned.
            InvalidRequestError: The settings fix every value.
            TuningError: The engine failed.
        """
        self._check_idle(slot)
        if not await self._has_candidates(_ready_manifest(slot)):
            raise InvalidRequestError(
                f"Nothing to tune for model {slot.ref.name!r}: the settings {', '.join(self.place.given)} fix every "
                "value.",
                param="name",
            )

        async def work() -> Manifest:
            await self.tuner.tune(slot, seconds or self.seconds)
            assert slot.model is not None
            return slot.model.manifest

        return await self._run(slot, work)

    async def reset(self, slot: Slot) -> bool:
        """Remove a loaded model's tunings for this machine and restore the default execution; return True if any.

        Raises:
            ModelLoadingError: The model is not ready yet.
            TuningInProgressError: The model is being tuned.
            EngineError: The engine could not load a graph.
        """
        self._forget_failures(slot.key)
        self._check_idle(slot)
        _ready_manifest(slot)
        return await self._run(slot, lambda: self.tuner.reset(slot))

    async def reset_stored(self, key: str, manifest: Manifest) -> bool:
        """Remove the tunings for this machine from a stored model that is not loaded; return True if it had any.

        Args:
            key: The model's key.
            manifest: The model's manifest in the repository.
        """
        self._forget_failures(key)
        async with self.locks.hold(key):
            entry = await asyncio.to_thread(self.repository.change_tunings, key, manifest, self.place.without_tunings)
        return entry.manifest.tunings != manifest.tunings

    async def tune_first(self, slot: Slot) -> None:
        """Tune a newly loaded model before it serves, if tuning at load is on and the model has no fitting tuning.

        Raises:
            EngineUnavailableError: The tuning failed, and the graphs may be in a layout of the sweep.
        """
        if not self.at_load or slot.model is None:
            return
        manifest = slot.model.manifest
        identity = slot.key, graphs_digest(manifest)
        if identity in self._untunable or self.place.fitting(manifest) is not None:
            return
        if not await self._has_candidates(manifest) or self.is_stopping or await self._has_other_settings(manifest):
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
        """Cancel the running or waiting tuning of a model, if there is one."""
        if (task := self._tasks.get(key)) is not None:
            task.cancel()

    def stop(self) -> list[asyncio.Task[Any]]:
        """Cancel all tunings and start no more; return the cancelled tasks."""
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

    async def _has_other_settings(self, manifest: Manifest) -> bool:
        """Return whether a shared engine has a graph with other settings than this server's, which stay as they are."""
        executions = self.place.executions(manifest)
        differ = [
            await self.tuner.graphs.differ(manifest, graph, executions[graph.role].layout) for graph in manifest.graphs
        ]
        return any(differ)

    def _forget_failures(self, key: str) -> None:
        self._untunable = {one for one in self._untunable if one[0] != key}

    def _check_idle(self, slot: Slot) -> None:
        """Raise TuningInProgressError if the model is being tuned or waits for that."""
        if slot.key in self._tasks:
            raise TuningInProgressError(
                f"Model {slot.ref.name!r} is being tuned. Wait until that has ended, or unload the model to end it.",
                param="name",
            )

    async def _run(self, slot: Slot, work: Callable[[], Awaitable[Done]]) -> Done:
        """Run a tuning or a reset of a ready model, one model at a time; continue if the caller is cancelled."""

        async def in_turn() -> Done:
            async with self._turn:
                if slot not in self.slots:
                    raise not_loaded(slot.ref.name)
                _ready_manifest(slot)
                # An unload cancels this task, and a load waits for it.
                slot.task = asyncio.current_task()
                async with self.locks.hold(slot.key):
                    return await work()

        self._check_idle(slot)
        if self.is_stopping:
            raise shutting_down()
        if slot not in self.slots:  # unloaded while the caller awaited
            raise not_loaded(slot.ref.name)
        task = asyncio.create_task(in_turn(), name=f"tune {slot.key}")
        self._tasks[slot.key] = task

        def forget(task: asyncio.Task[Done]) -> None:
            del self._tasks[slot.key]
            if not task.cancelled():
                task.exception()  # mark the exception as retrieved, in case the caller was cancelled

        task.add_done_callback(forget)
        await asyncio.shield(asyncio.wait([task]))
        if task.cancelled():
            raise shutting_down() if self.is_stopping else not_loaded(slot.ref.name)
        return task.result()


def shutting_down() -> EngineUnavailableError:
    """Return the error for callers whose load or tuning was cancelled because the server stops."""
    return EngineUnavailableError("The server is shutting down.", retry_after_s=5)


def _ready_manifest(slot: Slot) -> Manifest:
    """Return the manifest of a model that is ready and has no task in progress.

    Raises:
        ModelLoadingError: The model is not ready, or has a task in progress.
    """
    if slot.model is None or slot.state != "READY" or not slot.task_is_done:
        raise not_ready(slot)
    return slot.model.manifest
