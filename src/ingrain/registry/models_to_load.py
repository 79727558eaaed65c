"""The list of models that should be loaded, which all processes on one repository share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import KeysView

from ingrain.errors import DamagedEntryError
from ingrain.machine_faults import naming_repository_faults
from ingrain.repository.durable import set_aside, stamp_of
from ingrain.repository.models_to_load import DESIRED_FILE, ModelRef, read_desired, write_desired
from ingrain.repository.store import Repository

log = logging.getLogger("ingrain.repository")


class DesiredModels:
    """Reads and writes the list, and remembers the last one.

    A list that is damaged, or missing although this process knows models, is written again from what this process
    knows, which at its start is nothing. The damaged file is kept under another name.

    Args:
        repository: The repository that stores the list.
    """

    def __init__(self, repository: Repository) -> None:
        self._models: dict[str, ModelRef] = {}
        self._repository = repository
        self._path = repository.root / DESIRED_FILE
        self._stamp: tuple[int, ...] = ()

    @property
    def keys(self) -> KeysView[str]:
        """Keys of the models in the list."""
        return self._models.keys()

    async def has_changed(self) -> bool:
        """Return True if another process has written the list since the last read."""
        return await asyncio.to_thread(stamp_of, self._path) != self._stamp

    async def read(self) -> dict[str, ModelRef]:
        """Return the models by key.

        Raises:
            MachineError: The list cannot be read or mended now. ``has_changed`` stays true, so that it is read again.
        """
        stamp, models = await asyncio.to_thread(self._read)
        self._stamp, self._models = stamp, models
        return dict(models)

    async def lists(self, key: str) -> bool:
        """Return whether the list has a model now."""
        _, models = await asyncio.to_thread(self._read)
        return key in models

    async def remember(self, key: str, ref: ModelRef) -> None:
        """Add a model to the list, or replace its reference.

        Raises:
            MachineError: The list cannot be written; it stays as it was.
        """
        await self._write(key, ref)

    async def forget(self, key: str) -> None:
        """Remove a model from the list.

        Raises:
            MachineError: The list cannot be written; it stays as it was.
        """
        await self._write(key, None)

    async def restore(self, key: str, ref: ModelRef | None) -> None:
        """List a model as it was before, or not at all, if it is listed otherwise.

        Raises:
            MachineError: The list cannot be written; it stays as it was.
        """
        if self._models.get(key) != ref:
            await self._write(key, ref)

    async def _write(self, key: str, ref: ModelRef | None) -> None:
        """Edit the list; a caller that is cancelled ends when the list is written, so that it knows what is listed."""
        writing = asyncio.ensure_future(asyncio.to_thread(self._edit, key, ref))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait([writing])
            raise

    def _read(self) -> tuple[tuple[int, ...], dict[str, ModelRef]]:
        """Return the stamp and the models of the list; mend it first if necessary."""
        with naming_repository_faults():
            for _ in range(2):
                stamp = stamp_of(self._path)
                try:
                    found = read_desired(self._repository.root)
                except DamagedEntryError:
                    self._mend()
                    continue
                if not stamp and self._models and not self._path.exists():
                    self._mend()
                    continue
                return stamp, {ref.key: ref for ref in found}
            raise DamagedEntryError("The list of models that should be loaded (desired.json) is damaged.")

    def _edit(self, key: str, ref: ModelRef | None) -> None:
        self._read()  # mends the list if necessary
        with naming_repository_faults():
            self._repository.list_model(key, ref)
        # In this thread and not after the await: a cancelled caller would skip it, although the list was written.
        if ref is None:
            self._models.pop(key, None)
        else:
            self._models[key] = ref

    def _mend(self) -> None:
        with self._repository.locked():
            try:
                read_desired(self._repository.root)
            except DamagedEntryError as error:
                kept = set_aside(self._path)
                log.error(
                    "%s It is kept as %s; %d models are listed anew.", error.message, kept.name, len(self._models)
                )
            else:
                if self._path.exists():
                    return  # another process has mended it
                log.warning("The list of models that should be loaded (desired.json) was gone; it is written again")
            if self._models:
                write_desired(self._repository.root, tuple(self._models.values()))
