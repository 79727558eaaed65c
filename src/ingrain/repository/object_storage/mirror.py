"""A local copy of the index in object storage: which models are there, and which should be loaded."""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path

import msgspec

from ingrain.errors import NewerFormatError, StorageRefusedError
from ingrain.repository.durable import UNREADABLE, write_bytes
from ingrain.repository.models_to_load import ModelRef
from ingrain.repository.object_storage.store import RETRY_AFTER_S, ObjectStore

FORMAT = 1
INDEX = "index"

_FORMAT_OBJECT = f"{INDEX}/format.json"
_KEY = "[a-z0-9-]+-[0-9a-f]{10}"
_ENTRY = re.compile(rf"index/(models/{_KEY}/manifest|custom/{_KEY}/source|loaded/{_KEY})\.json")

log = logging.getLogger("ingrain.repository")


class _Format(msgspec.Struct, frozen=True):
    format: int = FORMAT


class Mirror:
    """Files that are the objects of the index, by the same paths below a folder; the caller locks it against others.

    Args:
        root: The local copy of the repository; the files are in its folder ``index``.
        store: The object storage.
    """

    def __init__(self, root: Path, store: ObjectStore) -> None:
        self._root = root
        self._store = store
        self._marks: dict[str, str] = {}

    def found(self) -> None:
        """Write the format of a repository that has none yet, so that an empty one differs from one that is gone.

        Raises:
            StorageUnavailableError: The storage cannot be reached.
        """
        if _FORMAT_OBJECT not in self._store.list(INDEX):
            self._store.create(_FORMAT_OBJECT, msgspec.json.encode(_Format()))

    def update(self) -> None:
        """Make the files equal to the objects.

        Raises:
            StorageUnavailableError: The storage cannot be reached, or its objects are gone; nothing has changed.
            NewerFormatError: A newer Ingrain has made the repository.
        """
        listed = self._store.list(INDEX)
        if _FORMAT_OBJECT not in listed:
            raise StorageRefusedError(
                "The object storage has no model repository any more at INGRAIN_REPOSITORY. Restore it, or start the "
                "server again to make a new one.",
                retry_after_s=RETRY_AFTER_S,
            )
        wanted = {path: info.mark for path, info in listed.items() if path == _FORMAT_OBJECT or _ENTRY.fullmatch(path)}
        for path, mark in wanted.items():
            if self._marks.get(path) != mark or not (self._root / path).is_file():
                content = self._store.read(path)
                if content is not None:  # else it was removed since the listing; the next one lacks it
                    if path == _FORMAT_OBJECT:
                        _check_format(content)
                    self._keep(path, content)
        for path in self._paths():
            if path not in wanted:
                self._drop(path)
        self._marks = wanted

    def write(self, path: str, content: bytes) -> None:
        """Write an object and its file.

        Raises:
            StorageUnavailableError: The storage cannot be reached; the object may be written or not.
        """
        self._store.write(path, content)
        self._keep(path, content)

    def remove(self, path: str) -> None:
        """Remove an object and its file.

        Raises:
            StorageUnavailableError: The storage cannot be reached; the object may be removed or not.
        """
        self._store.remove([path])
        self._drop(path)

    def folder(self, kind: str, key: str) -> Path:
        """Return the local folder of an entry of the index; ``kind`` is ``models`` or ``custom``."""
        return self._root / INDEX / kind / key

    def keys(self, kind: str) -> list[str]:
        """Return the keys of the entries of a kind, sorted."""
        folder = self._root / INDEX / kind
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def loaded(self) -> dict[str, ModelRef]:
        """Return the models that should be loaded, by key; those that only a newer Ingrain understands are left out."""
        found: dict[str, ModelRef] = {}
        for path in sorted((self._root / INDEX / "loaded").glob("*.json")):
            try:
                ref = msgspec.json.decode(path.read_bytes(), type=ModelRef)
            except UNREADABLE as error:
                log.error("An entry of the list of models in the object storage is ignored: %s", error)
                continue
            if ref.key == path.stem:
                found[ref.key] = ref
        return found

    def _paths(self) -> list[str]:
        return [path.relative_to(self._root).as_posix() for path in (self._root / INDEX).rglob("*.json")]

    def _keep(self, path: str, content: bytes) -> None:
        file = self._root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(file, content)

    def _drop(self, path: str) -> None:
        file = self._root / path
        file.unlink(missing_ok=True)
        if file.stem in ("manifest", "source"):
            shutil.rmtree(file.parent, ignore_errors=True)


def loaded_path(key: str) -> str:
    """Return the path of the object that lists a model to load."""
    return f"{INDEX}/loaded/{key}.json"


def _check_format(content: bytes) -> None:
    try:
        found = msgspec.json.decode(content, type=_Format).format
    except UNREADABLE as error:
        raise NewerFormatError(
            "The repository in the object storage has a format that this Ingrain cannot read."
        ) from error
    if found > FORMAT:
        raise NewerFormatError(
            f"The repository in the object storage has format {found}, and this Ingrain reads formats up to {FORMAT}. "
            "Use a newer Ingrain."
        )
