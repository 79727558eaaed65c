"""Puts the models of a bundle into a repository."""

from __future__ import annotations

import logging

from ingrain.errors import DamagedEntryError
from ingrain.repository.bundle.reader import Bundle, extract
from ingrain.repository.durable import write_json
from ingrain.repository.manifest import Manifest
from ingrain.repository.manifest_file import MANIFEST_FILE
from ingrain.repository.staged_files import files_of_model
from ingrain.repository.store import Repository

log = logging.getLogger("ingrain.repository")


def unpack(bundle: Bundle, repository: Repository) -> None:
    """Publish the models of a bundle, except those that the repository has already, with the same files.

    A model that the repository has in another form is replaced.

    Raises:
        BundleError: The bundle has changed since it was read.
        DamagedEntryError: The same, while it was unpacked.
    """
    for key, manifest in bundle.manifests.items():
        if _has(repository, key, manifest):
            log.info("Model %r of the bundle is in the repository already", manifest.name)
            continue
        with repository.staging() as folder:
            files = {path: file.sha256 for path, file in files_of_model(folder, manifest).items()}
            extract(bundle, files)
            (folder / "model").mkdir(exist_ok=True)
            write_json(folder / "model" / MANIFEST_FILE, manifest)
            repository.publish(folder)
        log.info("Model %r was put into the repository from the bundle", manifest.name)


def _has(repository: Repository, key: str, manifest: Manifest) -> bool:
    try:
        entry = repository.obtain(key)
        if entry is None or entry.manifest.untuned != manifest.untuned:
            return False
        repository.check(entry)
    except DamagedEntryError:
        return False
    return True
