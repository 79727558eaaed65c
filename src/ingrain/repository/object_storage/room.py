"""Keeps the local copy of a repository below a limit, by removing models that are not loaded."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from ingrain.errors import IngrainError
from ingrain.repository.manifest import Manifest
from ingrain.repository.models_to_load import read_desired
from ingrain.repository.store import Repository

log = logging.getLogger("ingrain.repository")


def make_room(repository: Repository, drop: Callable[[str], None], manifest: Manifest, max_bytes: int) -> None:
    """Remove models that are neither listed nor in use, those used longest ago first, until a further one fits.

    Models that are loaded stay, even if there is no room then.

    Args:
        repository: The local copy.
        drop: Removes a model, by its key, from the local copy alone.
        manifest: The model that is about to be downloaded.
        max_bytes: Limit of all models' bytes; 0: no limit.
    """
    if not max_bytes:
        return
    kept = {ref.key for ref in read_desired(repository.root)}.union(repository.in_use())
    sizes = {folder: _size(repository, folder) for folder in repository.models.iterdir()}
    excess = sum(sizes.values()) + _bytes_of(manifest) - max_bytes
    for folder in sorted(sizes, key=lambda one: one.stat().st_mtime):
        if excess <= 0:
            return
        if folder.name not in kept:
            with repository.try_changing(folder.name) as is_free:
                if is_free:
                    drop(folder.name)
                    excess -= sizes[folder]
                    log.info("Model %s was removed from the local copy to make room", folder.name)
    if excess > 0:
        log.warning("The local copy of the repository exceeds INGRAIN_REPOSITORY_CACHE_BYTES by %d bytes", excess)


def _size(repository: Repository, folder: Path) -> int:
    try:
        entry = repository.find(folder.name)
    except IngrainError:
        return 0
    return _bytes_of(entry.manifest) if entry is not None else 0


def _bytes_of(manifest: Manifest) -> int:
    graphs = [file for graph in manifest.graphs for file in graph.files]
    return sum(file.size_bytes for file in (*manifest.files, *graphs))
