"""Tunings of loaded models: one at a time, held against all other changes, ended with the model or the server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from ingrain.errors import (
    EngineUnavailableError,
    IngrainError,
    InvalidRequestError,
    ModelConflictError,
    TuningError,
    TuningInProgressError,
)
from ingrain.export.process.job import Progress
from ingrain.registry.table import Slot, SlotTable, not_loaded, not_ready, shutting_down
from ingrain.registry.tuner import Tuner
from ingrain.repository.manifest import Manifest
from ingrain.repository.store import Repository
from ingrain.tuning.place import TuningPlace, graphs_digest

_RETRY_S = 1.0

Done = TypeVar("Done")

Changing = Callable[[str], AbstractAsyncContextManager[None]]
"""Holds a model, by its key, against every other change."""

log = logging.getLogger("ingrain.registry")


class Tunings:
    """Has models tuned, and knows which are being tuned.

    Args:
        make_tuner: Makes what tunes, with the engine and the processes that there are then.
        repository: Where the manifests are.
        place: What is known of this machine.
        slots: The models.
        changing: Holds a model.
        at_load: True to tune each model once, before it serves.
        seconds: How long a tuning should take where nobody says.
    """

    def __init__(
        self,
        make_tuner: Callable[[], Tuner],
        repository: Repository,
        place: TuningPlace,
        slots: SlotTable,
        *,
        changing: Changing,
        at_load: bool,
        seconds: float,
    ) -> None:
        self._make_tuner = make_tuner
        self._repository = repository
        self._place = place
        self._slots = slots
        self._changing = changing
        self._at_load = at_load
        self._seconds = seconds
        self._turn = asyncio.Semaphore(1)
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        self._untunable: set[tuple[str, str]] = set()
        self._is_stopping = False

    async def tune(self, slot: Slot, seconds: float | None) -> Manifest:
        """Tune a model, and return its manifest with what was found.

        Args:
            slot: Of the model.
            seconds: How long it should take.

        Raises:
            ModelLoadingError: It is not ready yet.
            TuningInProgressError: It is being tuned.
            InvalidRequestError: The settings leave nothing to choose.
            TuningError: The engine failed meanwhile.
        """
        self._refuse_when_tuned(slot)
        self._refuse_unless_ready(slot)
        assert slot.model is not None
        if not await self._has_candidates(slot.model.manifest):
            raise InvalidRequestError(
                f"There is nothing to tune about model {slot.ref.name!r}: all of {', '.join(self._place.given)} are "
                "set.",
                param="name",
            )

        async def work() -> Manifest:
            await self._make_tuner().tune(slot, seconds or self._seconds)
            assert slot.model is not None
            return slot.model.manifest

        return await self._alone_with(slot, work)

    async def reset(self, slot: Slot) -> bool:
        """Forget how a loaded model was tuned here, and have it run by default; tell whether it was tuned.

        Raises:
            ModelLoadingError: It is not ready yet.
            TuningInProgressError: It is being tuned.
            EngineError: The engine could not load a graph.
        """
        self._forget_failures(slot.key)
        self._refuse_when_tuned(slot)
        self._refuse_unless_ready(slot)
        return await self._alone_with(slot, lambda: self._make_tuner().reset(slot))

    async def reset_stored(self, key: str, manifest: Manifest) -> bool:
        """Forget how a model that does not run was tuned here; tell whether it was.

        Args:
            key: Of the model.
            manifest: What the repository holds of it.
        """
        self._forget_failures(key)
        async with self._changing(key):
            entry = await asyncio.to_thread(self._repository.change_tunings, key, manifest, self._place.without_tunings)
        return entry.manifest.tunings != manifest.tunings

    async def tune_first(self, slot: Slot) -> None:
        """Tune a model that has just been loaded, before it serves, if it is to be and has not been.

        Raises:
            EngineUnavailableError: It failed, and the model's graphs are in a layout that nobody chose.
        """
        if not self._at_load or slot.model is None:
            return
        manifest = slot.model.manifest
        # What failed once, for want of memory perhaps, would only fail again with each load.
        made_of = slot.key, graphs_digest(manifest)
        if made_of in self._untunable or self._place.fitting(manifest) is not None:
            return
        if not await self._has_candidates(manifest) or self._is_stopping:
            return
        slot.progress = Progress(phase="tune")
        try:
            async with self._turn, self._changing(slot.key):
                await self._make_tuner().tune(slot, self._seconds)
        except (TuningError, ModelConflictError) as error:
            self._untunable.add(made_of)
            log.error("Model %r is not tuned: %s", slot.ref.name, error.message)
            if slot.is_displaced:
                raise EngineUnavailableError(error.message, retry_after_s=_RETRY_S) from error

    def end(self, key: str) -> None:
        """End the tuning of a model, if there is one; it may still wait for its turn."""
        if (task := self._tasks.get(key)) is not None:
            task.cancel()

    def stop(self) -> list[asyncio.Task[Any]]:
        """End all tunings at once and begin none, and return what is still to end."""
        self._is_stopping = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        return tasks

    async def _has_candidates(self, manifest: Manifest) -> bool:
        return any(await asyncio.to_thread(lambda: [bool(self._place.candidates(one)) for one in manifest.graphs]))

    def _forget_failures(self, key: str) -> None:
        self._untunable = {one for one in self._untunable if one[0] != key}

    def _refuse_unless_ready(self, slot: Slot) -> None:
        """Refuse a model that is not ready, or that somebody changes."""
        if slot.model is None or slot.state != "READY" or not slot.task_is_done:
            raise not_ready(slot)

    def _refuse_when_tuned(self, slot: Slot) -> None:
        if slot.key in self._tasks:
            raise TuningInProgressError(
                f"Model {slot.ref.name!r} is being tuned. Wait until that has ended, or unload the model to end it.",
                param="name",
            )

    async def _alone_with(self, slot: Slot, work: Callable[[], Awaitable[Done]]) -> Done:
        """Do what changes how a ready model is executed: one model at a time, and held against all other changes."""

        async def in_turn() -> Done:
            async with self._turn:
                if self._slots.of(slot.ref) is not slot:
                    raise not_loaded(slot.ref.name)
                self._refuse_unless_ready(slot)
                # Whoever unloads the model cancels this, and whoever loads it waits for it.
                slot.task = asyncio.current_task()
                async with self._changing(slot.key):
                    return await work()

        self._refuse_when_tuned(slot)
        if self._is_stopping:
            raise shutting_down()
        task = asyncio.create_task(in_turn(), name=f"tune {slot.key}")
        self._tasks[slot.key] = task

        def forget(task: asyncio.Task[Done]) -> None:
            del self._tasks[slot.key]
            if not task.cancelled():
                task.exception()  # seen, should nobody wait for it any more

        task.add_done_callback(forget)
        await asyncio.shield(asyncio.wait([task]))
        if task.cancelled():
            raise self._gone(slot)
        return task.result()

    def _gone(self, slot: Slot) -> IngrainError:
        """Return the error for whoever waited for a tuning that was cancelled."""
        return shutting_down() if self._is_stopping else not_loaded(slot.ref.name)
