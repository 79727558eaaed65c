"""The list of models that should be loaded, which all processes on one repository share."""

from __future__ import annotations

import asyncio

from ingrain.repository.models_to_load import DESIRED_FILE, ModelRef, read_desired, write_desired
from ingrain.repository.store import Repository


class DesiredModels:
    """Reads and writes the list, and caches the keys of the last read.

    Attributes:
        keys: Keys of the models in the list.

    Args:
        repository: The repository that stores the list.
    """

    def __init__(self, repository: Repository) -> None:
        self.keys: set[str] = set()
        self._repository = repository
        self._stamp: tuple[int, ...] = ()

    async def has_changed(self) -> bool:
        """Return True if another process has written the list since the last read."""
        return await asyncio.to_thread(self._look) != self._stamp

    async def read(self) -> dict[str, ModelRef]:
        """Return the models by key. If reading fails, ``has_changed`` stays true, so that the list is read again."""
        stamp = await asyncio.to_thread(self._look)
        models = {ref.key: ref for ref in await asyncio.to_thread(read_desired, self._repository.root)}
        self._stamp, self.keys = stamp, set(models)
        return models

    async def lists(self, key: str) -> bool:
        """Return whether the list has a model now."""
        models = await asyncio.to_thread(read_desired, self._repository.root)
        return any(ref.key == key for ref in models)

    async def remember(self, key: str, ref: ModelRef) -> None:
        """Add a model to the list, or replace its reference."""
        await asyncio.to_thread(self._edit, key, ref)

    async def forget(self, key: str) -> None:
        """Remove a model from the list."""
        await asyncio.to_thread(self._edit, key, None)

    def _edit(self, key: str, ref: ModelRef | None) -> None:
        with self._repository.locked():
            models = {one.key: one for one in read_desired(self._repository.root)}
            if models.get(key) != ref:
                if ref is None:
                    del models[key]
                else:
                    models[key] = ref
                write_desired(self._repository.root, tuple(models.values()))
        # In this thread and not after the await: a cancelled caller would skip it, although the list was written.
        (self.keys.discard if ref is None else self.keys.add)(key)

    def _look(self) -> tuple[int, ...]:
        try:
            found = (self._repository.root / DESIRED_FILE).stat()
        except FileNotFoundError:
            return ()
        return (found.st_ino, found.st_mtime_ns, found.st_size)
