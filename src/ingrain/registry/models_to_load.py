"""The list of models that should be loaded, which all processes on one repository share."""

from __future__ import annotations

import asyncio

from ingrain.repository.models_to_load import DESIRED_FILE, ModelRef, read_desired, write_desired
from ingrain.repository.store import Repository


class DesiredModels:
    """Reads and writes the list, and knows what it held when it was last read.

    Attributes:
        keys: Keys of the models in it.

    Args:
        repository: Where it is.
    """

    def __init__(self, repository: Repository) -> None:
        self.keys: set[str] = set()
        self._repository = repository
        self._stamp: tuple[int, ...] = ()

    async def has_changed(self) -> bool:
        """Tell whether another process has written the list since it was read."""
        return await asyncio.to_thread(self._look) != self._stamp

    async def read(self) -> dict[str, ModelRef]:
        """Return the models by key; what cannot be read has still changed, so that it is read again."""
        stamp = await asyncio.to_thread(self._look)
        models = {ref.key: ref for ref in await asyncio.to_thread(read_desired, self._repository.root)}
        self._stamp, self.keys = stamp, set(models)
        return models

    async def remember(self, key: str, ref: ModelRef) -> None:
        """Put a model into the list, or its new reference in the place of the old one."""
        await asyncio.to_thread(self._edit, key, ref)

    async def forget(self, key: str) -> None:
        """Take a model out of the list."""
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
        # Here, and not where it is waited for: a caller who goes away meanwhile does not undo what was written.
        (self.keys.discard if ref is None else self.keys.add)(key)

    def _look(self) -> tuple[int, ...]:
        try:
            found = (self._repository.root / DESIRED_FILE).stat()
        except FileNotFoundError:
            return ()
        return (found.st_ino, found.st_mtime_ns, found.st_size)
