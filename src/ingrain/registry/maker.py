"""Receives what should be loaded, hands on its entry in the repository, made first where there is none to serve."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from ingrain.errors import DamagedEntryError, ModelConflictError, UnsupportedModelError
from ingrain.export.process.job import Progress
from ingrain.registry.table import Slot
from ingrain.repository.desired import ModelRef
from ingrain.repository.manifest import Manifest
from ingrain.repository.store import Entry, Repository
from ingrain.vocabulary import Precision, Task

Export = Callable[[ModelRef, Path, Callable[[Progress], None]], Awaitable[None]]
"""Fetches, converts and proves a model into an empty folder."""

log = logging.getLogger("ingrain.registry")


class Maker:
    """Finds models in the repository, and has those made that it lacks, one at a time.

    Args:
        repository: Where published models are.
        export: Makes a model.
        default_precision: Of models for which none is named; None leaves stored ones as they are and makes new ones in
            fp32.
    """

    def __init__(self, repository: Repository, export: Export, default_precision: Precision | None) -> None:
        self._repository = repository
        self._export = export
        self._default_precision = default_precision
        self._turn = asyncio.Semaphore(1)

    async def obtain(self, slot: Slot) -> Entry:
        """Return the model's entry, made first where the repository has none that can be served.

        Args:
            slot: What is to be loaded. Its progress is told on the way, and its reference becomes fp32's where the
                default precision turns out to be impossible.

        Raises:
            ModelConflictError: The repository holds another revision under this name.
            SourceError, ExportError, MachineError, RepositoryError: What stood in the way.
        """
        precision, task = slot.ref.precision or self._default_precision, slot.ref.task
        stored: Entry | None = None
        was: Manifest | None = None
        try:
            stored = await asyncio.to_thread(self._repository.find, slot.key)
            if stored is not None:
                was = stored.manifest
                check_revision(slot.ref, stored.manifest)
                await asyncio.to_thread(self._repository.check, stored)
                if precision in (None, stored.manifest.precision) and slot.ref.task in (None, stored.manifest.task):
                    return stored
        except DamagedEntryError as error:
            stored = None
            # What it was is kept, as far as that can still be read.
            was = await asyncio.to_thread(self._repository.read_manifest, slot.key)
            precision = precision or (was.precision if was is not None else None)
            log.warning("Model %r is damaged in the repository and is made again: %s", slot.ref.name, error.message)
        try:
            return await self._make(slot, was, precision)
        except UnsupportedModelError as error:
            if error.param != "precision" or slot.ref.precision is not None:
                raise
            log.warning("Model %r is served in fp32, not in the default precision: %s", slot.ref.name, error.message)
        # So that the next start does not try again what was found impossible.
        slot.ref = msgspec.structs.replace(slot.ref, precision="fp32")
        if stored is not None and stored.manifest.precision == "fp32" and task in (None, stored.manifest.task):
            return stored
        return await self._make(slot, was, "fp32")

    async def _make(self, slot: Slot, was: Manifest | None, precision: Precision | None) -> Entry:
        """Export a model into the repository, in the place of what is stored there, damaged or not."""
        revision, task = slot.ref.revision, slot.ref.task
        if was is not None:
            revision, task = revision or was.revision, task or _task_of(was)
        ref = msgspec.structs.replace(slot.ref, precision=precision, revision=revision, task=task)

        def on_progress(progress: Progress) -> None:
            if slot.progress is None or slot.progress.phase != progress.phase:
                log.info("Model %r: %s", slot.ref.name, progress.phase)
            slot.progress = progress

        # One export at a time: each wants all cores and as much memory as the model has weights, several times.
        async with self._turn:
            with self._repository.staging() as folder:
                await self._export(ref, folder, on_progress)
                return await asyncio.to_thread(self._repository.publish, folder)


def _task_of(manifest: Manifest) -> Task | None:
    """Return what a stored model does, where that could have been chosen."""
    return manifest.task if manifest.library == "timm" else None


def check_revision(ref: ModelRef, manifest: Manifest) -> None:
    """Refuse a revision that is not the stored one.

    Raises:
        ModelConflictError: It is another one.
    """
    if ref.revision not in (None, manifest.revision, manifest.commit):
        stored = manifest.revision or manifest.commit or "the default one"
        raise ModelConflictError(
            f"Model {ref.name!r} is in the repository at revision {stored!r}, not {ref.revision!r}. "
            "Delete it with DELETE /delete_model, then load the revision you want.",
            param="revision",
        )
