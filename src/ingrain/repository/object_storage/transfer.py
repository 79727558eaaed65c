"""Uploads and downloads the files of one model, as objects that are named by checksum."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from ingrain.errors import StorageRefusedError, StorageUnavailableError
from ingrain.repository.custom import FILES_FOLDER, CustomSource
from ingrain.repository.manifest import StoredFile
from ingrain.repository.object_storage.store import RETRY_AFTER_S, ObjectStore

_PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0)

log = logging.getLogger("ingrain.repository")


def files_of_custom(folder: Path, source: CustomSource) -> dict[Path, StoredFile]:
    """Return the files of a custom model, by their place in a staging folder."""
    return {folder / FILES_FOLDER / file.path: file for file in source.files}


def upload(store: ObjectStore, prefix: str, files: Mapping[Path, StoredFile]) -> None:
    """Upload files to ``<prefix>/<sha256>``; try for half a minute, so that a hiccup does not cost a conversion.

    Raises:
        StorageUnavailableError: Not all files are there.
    """
    for pause_s in (*_PAUSES_S, None):
        try:
            for path, file in files.items():
                store.upload(path, f"{prefix}/{file.sha256}")
            _check_uploaded(store, prefix, files.values())
            return
        except StorageRefusedError:
            raise
        except StorageUnavailableError as error:
            if pause_s is None:
                raise
            log.warning("%s Uploading again in %g s.", error.message, pause_s)
            time.sleep(pause_s)


def download(store: ObjectStore, prefix: str, files: Mapping[Path, StoredFile]) -> None:
    """Download files; the caller compares their checksums.

    Raises:
        FileNotFoundError: An object is missing.
        StorageUnavailableError: The storage cannot be reached.
    """
    for path, file in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        store.download(f"{prefix}/{file.sha256}", path)


def remove_others(store: ObjectStore, prefix: str, files: Iterable[StoredFile] = ()) -> None:
    """Remove the objects below a prefix that are none of these files; a failure only leaves them there."""
    kept = {f"{prefix}/{file.sha256}" for file in files}
    try:
        store.remove(path for path in store.list(prefix) if path not in kept)
    except StorageUnavailableError as error:
        log.warning("Objects that no model has any more stay below %s: %s", prefix, error.message)


def _check_uploaded(store: ObjectStore, prefix: str, files: Iterable[StoredFile]) -> None:
    """Check that another server, which deletes the model meanwhile, has not removed objects."""
    found = store.list(prefix)
    for file in files:
        info = found.get(f"{prefix}/{file.sha256}")
        if info is None or info.size_bytes != file.size_bytes:
            raise StorageUnavailableError(
                f"The object storage does not have the file {file.path}, although it was uploaded.",
                retry_after_s=RETRY_AFTER_S,
            )
