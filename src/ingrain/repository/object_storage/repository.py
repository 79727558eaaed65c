"""The model repository in object storage, with the local copy from which graphs are served."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from ingrain.errors import (
    DamagedEntryError,
    MachineError,
    ModelConflictError,
    RepositoryError,
    StorageRefusedError,
    StorageUnavailableError,
)
from ingrain.repository.checksums import check_files
from ingrain.repository.custom import DESCRIPTION_FILE, FILES_FOLDER, CustomSource
from ingrain.repository.durable import stamp_of, write_json
from ingrain.repository.lock import exclusive
from ingrain.repository.manifest import Manifest, StoredFile
from ingrain.repository.manifest_file import MANIFEST_FILE, read_manifest, read_name
from ingrain.repository.models_to_load import ModelRef, read_desired, write_desired
from ingrain.repository.names import model_key
from ingrain.repository.object_storage.claims import Claims, Release
from ingrain.repository.object_storage.custom import MirroredCustomSources
from ingrain.repository.object_storage.mirror import INDEX, Mirror, loaded_path
from ingrain.repository.object_storage.room import make_room
from ingrain.repository.object_storage.store import ObjectStore
from ingrain.repository.object_storage.transfer import (
    download,
    files_of_custom,
    remove_others,
    upload,
)
from ingrain.repository.staged_files import files_of_model
from ingrain.repository.store import BrokenEntry, ChangeTunings, Entry, Repository, replaced_meanwhile

_TUNINGS_WAIT_S = 90.0
_FETCHES = 2

log = logging.getLogger("ingrain.repository")


class ObjectStorageRepository(Repository):
    """A repository whose truth is in object storage; any number of servers may share it.

    A model is uploaded before it is in the local copy, and downloaded when it is loaded. ``sync`` brings what other
    servers have changed. While the storage cannot be reached, what is in the local copy is served.

    Args:
        store: The object storage.
        root: Folder of the local copy; processes of this machine may share it.
        claims: Locks between servers.
        max_bytes: Bytes of models in the local copy above which those that are not loaded are removed; 0: no limit.
    """

    def __init__(self, store: ObjectStore, root: Path, *, claims: Claims | None = None, max_bytes: int = 0) -> None:
        super().__init__(root)
        self._store = store
        self._mirror = Mirror(root, store)
        self.custom: MirroredCustomSources = MirroredCustomSources(root / "custom", self._mirror)
        self._sync_lock = root / "sync.lock"
        self._server_claims = claims or Claims(store)
        self._max_bytes = max_bytes

    def prepare(self) -> None:
        """Create the folders, and read the index; without the object storage go on with the local copy.

        Raises:
            RepositoryError: The folder cannot be written, access is denied, or the bucket does not exist.
        """
        super().prepare()
        try:
            self._mirror.found()
            self.sync()
        except StorageRefusedError as error:
            raise RepositoryError(error.message) from error
        except StorageUnavailableError as error:
            log.error(
                "%s The server starts with the models of its local copy, %d of the %d that it knows.",
                error.message,
                len(list(self.models.iterdir())),
                len(self._mirror.keys("models")),
            )

    def sync(self) -> None:
        """Follow what other servers have changed: the list of models to load, new models and removed ones.

        Raises:
            StorageUnavailableError: The storage cannot be reached; nothing has changed.
            NewerFormatError: A newer Ingrain has made the repository.
        """
        with exclusive(self._sync_lock):
            self._mirror.update()
            self._follow_list()
        self._remove_deleted()

    def check_writable(self) -> None:
        """Check that models can be changed: write and remove local files, and write an object.

        Raises:
            MachineError: A disk or the object storage cannot be written.
        """
        super().check_writable()
        self._store.check()

    def claim_making(self, key: str) -> Release | None:
        """Claim the conversion of a model among all servers, and get its custom source, if it has one.

        Raises:
            DamagedEntryError: The files of the custom source are not those of its description.
            StorageUnavailableError: The storage cannot be reached.
        """
        self._fetch_custom(key)
        return self._server_claims.claim(key)

    def obtain(self, key: str) -> Entry | None:
        """Return a model after making the local copy equal to the object storage; None if there is none.

        Without the object storage the local copy is returned.

        Raises:
            StorageUnavailableError: The storage cannot be reached, and the model is not in the local copy.
            DamagedEntryError: Its objects are missing or not those that the manifest names.
            NewerFormatError: A newer Ingrain wrote the entry.
        """
        try:
            self.sync()
        except StorageUnavailableError as error:
            entry = self.find(key)
            if entry is None:
                raise
            log.warning("%s Model %r is loaded from the local copy.", error.message, entry.manifest.name)
            return entry
        for left in reversed(range(_FETCHES)):
            manifest = self._described(key)
            if manifest is None:
                return None
            try:
                if not self._has(key, manifest):
                    self._fetch(key, manifest)
                break
            except DamagedEntryError:
                if not left:
                    raise
                self.sync()  # another server may have replaced the model meanwhile
        with suppress(OSError):
            os.utime(self.models / key)  # what was used last leaves the local copy last
        return self.find(key)

    def publish(self, staged: Path) -> Entry:
        """Upload an export, the manifest last, then move it into the local copy.

        Raises:
            DamagedEntryError: The staged files do not match the staged manifest.
            StorageUnavailableError: The storage cannot be reached; other servers see nothing of the model.
        """
        manifest = read_manifest(staged / "model")
        key = model_key(manifest.name, manifest.library, manifest.pretrained)
        check_files(staged / "model", manifest.files, contents=True)
        for graph in manifest.graphs:
            check_files(staged / graph.name, graph.files, contents=True)
        content = (staged / "model" / MANIFEST_FILE).read_bytes()
        self._upload("models", key, files_of_model(staged, manifest), MANIFEST_FILE, content)
        return super().publish(staged)

    def publish_custom(self, staged: Path, key: str) -> None:
        """Upload a custom source, the description last, then move it into the local copy.

        Raises:
            ModelConflictError: A model with this key was stored meanwhile; it stays.
            StorageUnavailableError: The storage cannot be reached.
        """
        self.sync()
        if key in self._mirror.keys("custom") or key in self._mirror.keys("models"):
            raise ModelConflictError("A model of this name was stored meanwhile; try again.", param="name")
        content = (staged / DESCRIPTION_FILE).read_bytes()
        source = msgspec.json.decode(content, type=CustomSource)
        self._upload("custom", key, files_of_custom(staged, source), DESCRIPTION_FILE, content)
        super().publish_custom(staged, key)

    def list_model(self, key: str, ref: ModelRef | None) -> None:
        """Add a model to the list, replace its reference, or remove it if ``ref`` is None.

        Raises:
            StorageUnavailableError: The storage cannot be reached; the list stays as it was.
        """
        with exclusive(self._sync_lock):
            if self._mirror.loaded().get(key) != ref:
                if ref is None:
                    self._mirror.remove(loaded_path(key))
                else:
                    self._mirror.write(loaded_path(key), msgspec.json.encode(ref))
            super().list_model(key, ref)

    def read_manifest(self, key: str) -> Manifest | None:
        """Return a model's manifest in the object storage, as last seen; None if it cannot be read."""
        try:
            return self._described(key)
        except (RepositoryError, MachineError):
            return None

    def stamp(self, key: str) -> tuple[tuple[int, ...], ...]:
        """Return a value that changes when a model changes, in the object storage or in the local copy."""
        return (*super().stamp(key), stamp_of(self._mirror.folder("models", key) / MANIFEST_FILE))

    def entries(self, is_wanted: Callable[[str], bool] = lambda _: True) -> list[Entry | BrokenEntry]:
        """Return the models of the object storage as last seen whose keys are wanted, in the local copy or not."""
        found: list[Entry | BrokenEntry] = []
        for key in filter(is_wanted, self._mirror.keys("models")):
            try:
                manifest = self._described(key)
            except (RepositoryError, MachineError) as error:
                name = read_name(self._mirror.folder("models", key))
                found.append(BrokenEntry(key=key, name=name, error=error))
            else:
                if manifest is not None:
                    found.append(Entry(key=key, folder=self.models / key, manifest=manifest))
        return found

    def delete(self, key: str) -> None:
        """Remove a model and its custom source, first from the index, so that no server loads it any more.

        Raises:
            StorageUnavailableError: The storage cannot be reached; the model may be removed or not.
        """
        with exclusive(self._sync_lock):
            self._mirror.remove(f"{INDEX}/models/{key}/{MANIFEST_FILE}")
            self._mirror.remove(f"{INDEX}/custom/{key}/{DESCRIPTION_FILE}")
        super().delete(key)
        for kind in ("models", "custom"):
            remove_others(self._store, _objects(kind, key))

    def drop(self, key: str) -> None:
        """Remove a model from the local copy alone."""
        with self.locked():
            self._remove_entry(key)

    def change_tunings(self, key: str, manifest: Manifest, change: ChangeTunings) -> Entry:
        """Change only the tunings in a model's manifest, one server at a time.

        Raises:
            ModelConflictError: The model was removed or replaced meanwhile, or another server does not finish.
            StorageUnavailableError: The storage cannot be reached.
        """
        release = self._server_claims.wait(f"{key}.tunings", _TUNINGS_WAIT_S)
        if release is None:
            raise ModelConflictError(
                f"Another server changes the tunings of model {manifest.name!r}; try again later.", param="name"
            )
        try:
            self.sync()
            stored = self._described(key)
            if stored is None or stored.graphs != manifest.graphs:
                raise replaced_meanwhile(manifest)
            changed = msgspec.structs.replace(stored, tunings=change(stored.tunings))
            if changed != stored:
                with exclusive(self._sync_lock):
                    self._mirror.write(f"{INDEX}/models/{key}/{MANIFEST_FILE}", msgspec.json.encode(changed))
            if not (self.models / key).exists():
                return Entry(key=key, folder=self.models / key, manifest=changed)
            return super().change_tunings(key, manifest, lambda _: changed.tunings)
        finally:
            release()

    def _described(self, key: str) -> Manifest | None:
        """Return a model's manifest in the object storage, as last seen; None if there is none."""
        folder = self._mirror.folder("models", key)
        if not (folder / MANIFEST_FILE).exists():
            return None
        manifest = read_manifest(folder)
        if model_key(manifest.name, manifest.library, manifest.pretrained) != key:
            raise DamagedEntryError("The manifest is that of another model.")
        return manifest

    def _has(self, key: str, manifest: Manifest) -> bool:
        """Return whether the local copy has a model with all its files; take over its tunings."""
        try:
            entry = self.find(key)
            if entry is None or entry.manifest.untuned != manifest.untuned:
                return False
            self.check(entry)
        except DamagedEntryError as error:
            log.warning("The local copy of model %r is damaged: %s", manifest.name, error.message)
            return False
        if entry.manifest != manifest:
            with self.locked():
                write_json(entry.folder / MANIFEST_FILE, manifest)
        return True

    def _fetch(self, key: str, manifest: Manifest) -> None:
        make_room(self, self.drop, manifest, self._max_bytes)
        with self.staging() as folder:
            self._download("models", key, files_of_model(folder, manifest))
            write_json(folder / "model" / MANIFEST_FILE, manifest)
            super().publish(folder)
        log.info("Model %r was downloaded from the object storage", manifest.name)

    def _fetch_custom(self, key: str) -> None:
        source = self.custom.described(key)
        if source is None or self.custom.find(key) is not None:
            return
        with self.staging() as folder:
            self._download("custom", key, files_of_custom(folder / key, source))
            check_files(folder / key / FILES_FOLDER, source.files, contents=True)
            write_json(folder / key / DESCRIPTION_FILE, source)
            super().publish_custom(folder / key, key)

    def _download(self, kind: str, key: str, files: Mapping[Path, StoredFile]) -> None:
        try:
            download(self._store, _objects(kind, key), files)
        except FileNotFoundError as error:
            raise DamagedEntryError("An object of the model is missing in the object storage.") from error

    def _upload(self, kind: str, key: str, files: Mapping[Path, StoredFile], name: str, content: bytes) -> None:
        upload(self._store, _objects(kind, key), files)
        with exclusive(self._sync_lock):
            self._mirror.write(f"{INDEX}/{kind}/{key}/{name}", content)
        remove_others(self._store, _objects(kind, key), files.values())

    def _follow_list(self) -> None:
        wanted = self._mirror.loaded()
        with self.locked():
            try:
                known = read_desired(self.root)
            except DamagedEntryError:
                known = ()
            kept = [wanted[ref.key] for ref in known if ref.key in wanted]
            listed = (*kept, *(ref for key, ref in wanted.items() if key not in {one.key for one in kept}))
            if listed != known:
                write_desired(self.root, listed)

    def _remove_deleted(self) -> None:
        """Remove models from the local copy that another server has deleted."""
        # Read before the index, which has a model before the local copy does.
        models, custom = _names(self.models), _names(self.custom.folder)
        models -= set(self._mirror.keys("models"))
        custom -= set(self._mirror.keys("custom"))
        for key in models | custom:
            with self.try_changing(key) as is_free:
                if is_free and key in models:
                    self.drop(key)
                if is_free and key in custom:
                    with self.locked():
                        self._discard(self.custom.folder / key)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def _objects(kind: str, key: str) -> str:
    return f"objects/{kind}/{key}"
