"""Finds a model in the repository, or exports it into the repository first."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from ingrain.errors import (
    DamagedEntryError,
    MachineError,
    ModelConflictError,
    RepositoryError,
    UnsupportedModelError,
)
from ingrain.libraries import LIBRARIES
from ingrain.progress import Progress
from ingrain.registry.claims import claimed
from ingrain.registry.slots import Slot, not_loaded
from ingrain.repository.manifest import Manifest
from ingrain.repository.models_to_load import ModelRef
from ingrain.repository.store import Entry, Repository
from ingrain.vocabulary import Precision, Task

Export = Callable[[ModelRef, Path, Callable[[Progress], None]], Awaitable[None]]
"""Fetches, converts and verifies a model into an empty folder."""

_LOOK_AGAIN_S = 1.0

log = logging.getLogger("ingrain.registry")


class Maker:
    """Finds models in the repository, and exports missing ones, one at a time.

    Args:
        repository: The model repository.
        export: Exports a model.
        default_precision: Precision of models for which the request names none; None takes stored models as they are
            and exports new ones in fp32.
    """

    def __init__(self, repository: Repository, export: Export, default_precision: Precision | None) -> None:
        self._repository = repository
        self._export = export
        self._default_precision = default_precision
        self._turn = asyncio.Semaphore(1)
        # Keys of the models that are exported, or will be, in this order.
        self._queue: list[str] = []

    def queue_position(self, key: str) -> int | None:
        """Return how many exports come before that of a model; None if it does not wait for others."""
        return (self._queue.index(key) or None) if key in self._queue else None

    async def obtain(self, slot: Slot, *, as_stored: bool) -> Entry:
        """Return the model's entry; export the model first if the repository has none that meets the slot's reference.

        For a request it is taken as it is stored, and only exported if it is damaged.

        Args:
            slot: The slot to load. Updates its progress, and sets the precision of its reference to fp32 if the model
                does not support the default precision.
            as_stored: True if the default precision is only for a model that is not stored yet.

        Raises:
            ModelConflictError: The repository holds another revision under this name.
            ModelNotLoadedError: A request needs the model, and it is no longer in the repository.
            SourceError, ExportError, MachineError, RepositoryError: It could not be exported or read.
        """
        wanted = msgspec.structs.replace(slot.ref, precision=slot.ref.precision or self._default_precision)
        stored: Entry | None = None
        was: Manifest | None = None
        try:
            stored = await asyncio.to_thread(self._repository.obtain, slot.key)
            if stored is not None:
                was = stored.manifest
                if as_stored:
                    wanted = slot.ref
                check_revision(slot.ref, was)
                await asyncio.to_thread(self._repository.check, stored)
                if slot.is_demanded and not slot.ref.is_met_by(was):
                    slot.ref = msgspec.structs.replace(slot.ref, precision=None, task=None)
                if slot.is_demanded or wanted.is_met_by(was):
                    return stored
            elif slot.is_demanded or slot.is_on_demand:
                raise not_loaded(slot.ref.name)
        except DamagedEntryError as error:
            stored = None
            # Export it again in the same precision, if the manifest is still readable.
            was = await asyncio.to_thread(self._repository.read_manifest, slot.key)
            if was is not None and (wanted.precision is None or as_stored):
                wanted = msgspec.structs.replace(wanted, precision=slot.ref.precision or was.precision)
            log.warning("Model %r is damaged in the repository; exporting it again: %s", slot.ref.name, error.message)
            return await self._make_unless_restored(slot, was, wanted)
        return await self._make_in_default(slot, stored, was, wanted)

    async def _make_unless_restored(self, slot: Slot, was: Manifest | None, wanted: ModelRef) -> Entry:
        """Export a damaged model again; if its files come back meanwhile, end the export and return the entry."""
        making = asyncio.create_task(self._make_in_default(slot, None, was, wanted))
        try:
            while not making.done():
                await asyncio.wait([making], timeout=_LOOK_AGAIN_S)
                if not making.done() and (restored := await asyncio.to_thread(self._restored, slot.key, wanted)):
                    log.info("Model %r is whole in the repository again", slot.ref.name)
                    return restored
            return making.result()
        finally:
            making.cancel()
            await asyncio.wait([making])

    def _restored(self, key: str, wanted: ModelRef) -> Entry | None:
        try:
            entry = self._repository.find(key)
            if entry is None or not wanted.is_met_by(entry.manifest):
                return None
            self._repository.check(entry)
        except (RepositoryError, MachineError):
            return None
        return entry

    def _made_elsewhere(self, key: str, wanted: ModelRef) -> Entry | None:
        """Return the entry that another server has made while this one waited to make it; None if that does not fit."""
        try:
            entry = self._repository.obtain(key)
            if entry is None or not wanted.is_met_by(entry.manifest):
                return None
            self._repository.check(entry)
        except DamagedEntryError:
            return None
        check_revision(wanted, entry.manifest)
        return entry

    async def _make_in_default(self, slot: Slot, stored: Entry | None, was: Manifest | None, wanted: ModelRef) -> Entry:
        """Export a model in the wanted precision, or in fp32 if it does not support the default precision."""
        try:
            return await self._make(slot, was, wanted.precision)
        except UnsupportedModelError as error:
            if error.param != "precision" or slot.ref.precision is not None:
                raise
            log.warning("Model %r is served in fp32, not in the default precision: %s", slot.ref.name, error.message)
        # Stored in the reference, so that the next start does not try the default precision again.
        slot.ref = msgspec.structs.replace(slot.ref, precision="fp32")
        if stored is not None and slot.ref.is_met_by(stored.manifest):
            return stored
        return await self._make(slot, was, "fp32")

    async def _make(self, slot: Slot, was: Manifest | None, precision: Precision | None) -> Entry:
        """Export a model into the repository, replacing the stored model, damaged or not."""
        revision, task = slot.ref.revision, slot.ref.task
        if was is not None:
            revision, task = revision or was.revision, task or _task_of(was)
        ref = msgspec.structs.replace(slot.ref, precision=precision, revision=revision, task=task)

        def on_progress(progress: Progress) -> None:
            if slot.progress is None or slot.progress.phase != progress.phase:
                log.info("Model %r: %s", slot.ref.name, progress.phase)
            slot.progress = progress

        # One export at a time: each uses all cores, and memory for several copies of the weights.
        self._queue.append(slot.key)
        try:
            async with self._turn, claimed(self._repository, slot.key):
                if (made := await asyncio.to_thread(self._made_elsewhere, slot.key, ref)) is not None:
                    return made
                with self._repository.staging() as folder:
                    await self._export(ref, folder, on_progress)
                    return await asyncio.to_thread(self._repository.publish, folder)
        finally:
            self._queue.remove(slot.key)


def _task_of(manifest: Manifest) -> Task | None:
    """Return a stored model's task if its library lets the user choose one."""
    return manifest.task if LIBRARIES[manifest.library].tasks else None


def check_revision(ref: ModelRef, manifest: Manifest) -> None:
    """Raise ModelConflictError if a reference names another revision than the stored one."""
    if ref.revision not in (None, manifest.revision, manifest.commit):
        stored = manifest.revision or manifest.commit or "the default one"
        raise ModelConflictError(
            f"Model {ref.name!r} is in the repository at revision {stored!r}, not {ref.revision!r}. "
            "Delete it with DELETE /delete_model, then load the revision you want.",
            param="revision",
        )
