"""The model repository: published models on disk, found, checked, published and removed as wholes.

::

    <root>/triton/<graph>/1/model.onnx    what Triton reads (config.pbtxt and model.py beside it)
    <root>/models/<key>/manifest.json     what Ingrain reads, with the tokenizer; its presence makes the model exist
    <root>/custom/<key>/                  models that were fetched from URLs (custom.py)
    <root>/staging/<id>/                  exports and downloads in progress, each with a lock held by its process
    <root>/claims/                        empty files, locked while a process exports, loads or unloads that model
    <root>/desired.json                   which models should be loaded
    <root>/lock                           held while any of this changes
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ingrain.errors import DamagedEntryError, MachineError, ModelConflictError, NewerFormatError, RepositoryError
from ingrain.machine_faults import raise_if_machines
from ingrain.repository.checksums import check_files
from ingrain.repository.custom import CustomSources
from ingrain.repository.lock import exclusive, if_free
from ingrain.repository.manifest import MANIFEST_FORMAT, Graph, Manifest
from ingrain.repository.names import key_of_graph, model_key
from ingrain.repository.tuning import Tuning

MANIFEST_FILE = "manifest.json"

ChangeTunings = Callable[[tuple[Tuning, ...]], tuple[Tuning, ...]]


class _FormatOnly(msgspec.Struct):
    format: int
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A published model whose manifest could be read."""

    key: str
    folder: Path
    manifest: Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenEntry:
    """A folder of the repository that is never served, and why."""

    key: str
    name: str
    error: RepositoryError | MachineError


class Repository:
    """The folder of published models; any number of processes may share it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.triton = root / "triton"
        self.models = root / "models"
        self.custom = CustomSources(root / "custom")
        self._staging = root / "staging"
        self._claims = root / "claims"
        self._lock = root / "lock"

    def prepare(self) -> None:
        """Create the folders and remove what died before it was published.

        Raises:
            RepositoryError: The folder cannot be written.
        """
        try:
            for folder in (self.triton, self.models, self.custom.folder, self._staging, self._claims):
                folder.mkdir(parents=True, exist_ok=True)
            with exclusive(self._lock):
                self._remove_abandoned_staging()
                self._remove_orphaned_graphs()
        except OSError as error:
            raise RepositoryError(
                f"The model repository cannot be written ({error.strerror}). "
                "Give a writable folder as INGRAIN_REPOSITORY."
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the repository's lock, as every change does."""
        with exclusive(self._lock):
            yield

    @contextmanager
    def try_changing(self, key: str) -> Iterator[bool]:
        """Claim a model against the other processes that share the repository; yield whether nobody else had it."""
        with if_free(self._claims / key) as free:
            yield free

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Yield an empty folder for an export; whatever is left in it at the end is removed."""
        identity = uuid.uuid4().hex
        folder, lock = self._staging / identity, self._staging / f"{identity}.lock"
        with exclusive(lock):
            folder.mkdir()
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
                lock.unlink(missing_ok=True)

    def publish(self, staged: Path) -> Entry:
        """Move an export into place; the manifest comes last, so that a model exists as a whole or not at all.

        Args:
            staged: Folder with ``model/manifest.json`` and one folder for each graph.

        Raises:
            DamagedEntryError: The staged files are not what the staged manifest says.
        """
        manifest = _read_manifest(staged / "model")
        key = model_key(manifest.name, manifest.library, manifest.pretrained)
        check_files(staged / "model", manifest.files, contents=True)
        for graph in manifest.graphs:
            check_files(staged / graph.name, graph.files, contents=True)
        _sync_tree(staged)
        with exclusive(self._lock):
            self._remove_entry(key, [graph.name for graph in manifest.graphs])
            for graph in manifest.graphs:
                (staged / graph.name).rename(self.triton / graph.name)
            (staged / "model").rename(self.models / key)
            _sync_folder(self.triton)
            _sync_folder(self.models)
        return Entry(key=key, folder=self.models / key, manifest=manifest)

    def publish_custom(self, staged: Path, key: str) -> None:
        """Move a custom source into place with one rename.

        Args:
            staged: Folder that ``describe_source`` has described.
            key: The model's key.

        Raises:
            ModelConflictError: There is a model with this key by now; it is left alone.
        """
        _sync_tree(staged)
        with exclusive(self._lock):
            if (self.custom.folder / key).exists() or (self.models / key).exists():
                raise ModelConflictError("Another model of this name has come into the repository.", param="name")
            staged.rename(self.custom.folder / key)
            _sync_folder(self.custom.folder)

    def find(self, key: str) -> Entry | None:
        """Return the entry with this key, or None if there is none.

        Raises:
            DamagedEntryError: Its manifest cannot be read, or files are missing.
            NewerFormatError: It was written by a newer Ingrain.
        """
        folder = self.models / key
        if not folder.is_dir():
            return None
        entry = Entry(key=key, folder=folder, manifest=_read_manifest(folder))
        self.check(entry, contents=False)
        return entry

    def read_manifest(self, key: str) -> Manifest | None:
        """Return what an entry is, whatever has become of its other files; None where that cannot be read."""
        try:
            return _read_manifest(self.models / key)
        except (RepositoryError, MachineError):
            return None

    def check(self, entry: Entry, *, contents: bool = True) -> None:
        """Compare an entry's files with its manifest; ``contents`` compares checksums, else sizes only.

        Raises:
            DamagedEntryError: A file is missing or differs.
        """
        check_files(entry.folder, entry.manifest.files, contents=contents)
        for graph in entry.manifest.graphs:
            check_files(self.graph_folder(graph.name), graph.files, contents=contents)

    def entries(self) -> list[Entry | BrokenEntry]:
        """Return all that is in the repository, what cannot be served included."""
        found: list[Entry | BrokenEntry] = []
        for folder in sorted(self.models.iterdir()) if self.models.is_dir() else []:
            try:
                entry = self.find(folder.name)
            except (RepositoryError, MachineError) as error:
                found.append(BrokenEntry(key=folder.name, name=_name_of(folder), error=error))
            else:
                if entry is not None:
                    found.append(entry)
        return found

    def delete(self, key: str) -> None:
        """Remove a model and its custom source, damaged or not; nothing happens if it is not there."""
        with exclusive(self._lock):
            self._remove_entry(key, _graph_names(self.models / key))
            self._discard(self.custom.folder / key)

    def change_tunings(self, key: str, manifest: Manifest, change: ChangeTunings) -> Entry:
        """Change the tunings in a model's manifest, and nothing else of it.

        Args:
            key: The model's key.
            manifest: Of the model that was tuned.
            change: Makes the new tunings of those that are there now: another machine may have written its own.

        Raises:
            ModelConflictError: The model has been removed or replaced by another meanwhile.
            DamagedEntryError: It cannot be read any more.
        """
        with exclusive(self._lock):
            entry = self.find(key)
            if entry is None or entry.manifest.graphs != manifest.graphs:
                raise ModelConflictError(
                    f"Model {manifest.name!r} was replaced in the repository while it was tuned; tune it again.",
                    param="name",
                )
            changed = msgspec.structs.replace(entry.manifest, tunings=change(entry.manifest.tunings))
            if changed == entry.manifest:
                return entry
            temporary = entry.folder / f"{MANIFEST_FILE}.new"
            with temporary.open("wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(changed)))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(entry.folder / MANIFEST_FILE)
            _sync_folder(entry.folder)
        return Entry(key=key, folder=entry.folder, manifest=changed)

    def graph_folder(self, graph: str) -> Path:
        """Return Triton's folder of a graph."""
        return self.triton / graph

    def locate_graph(self, graph: Graph) -> Path:
        """Return the path of a graph's ONNX file."""
        return self.triton / graph.name / "1" / "model.onnx"

    def _remove_entry(self, key: str, graphs: list[str]) -> None:
        """Take the manifest away first: from then on the model does not exist, whatever happens next."""
        self._discard(self.models / key, *(self.triton / graph for graph in graphs))

    def _discard(self, *folders: Path) -> None:
        """Remove folders as wholes, in this order; those that are not there are passed over."""
        trash = self._staging / uuid.uuid4().hex
        trash.mkdir()
        for folder in folders:
            if folder.exists():
                folder.rename(trash / folder.name)
        shutil.rmtree(trash, ignore_errors=True)

    def _remove_abandoned_staging(self) -> None:
        for folder in self._staging.iterdir():
            lock = folder.with_suffix(".lock")
            with if_free(lock) as free:
                if free:
                    shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                    lock.unlink(missing_ok=True)

    def _remove_orphaned_graphs(self) -> None:
        """Remove graphs that no manifest names: a publish or a delete that was cut short."""
        keys = {folder.name for folder in self.models.iterdir()}
        for folder in self.triton.iterdir():
            key = key_of_graph(folder.name)
            if key is not None and key not in keys:
                shutil.rmtree(folder, ignore_errors=True)


def _read_manifest(folder: Path) -> Manifest:
    try:
        content = (folder / MANIFEST_FILE).read_bytes()
        head = msgspec.json.decode(content, type=_FormatOnly)
    except (OSError, msgspec.MsgspecError) as error:
        raise_if_machines(error)  # a file that cannot be opened now is not damaged, and must not be made again
        raise DamagedEntryError("The manifest is missing or cannot be read.") from error
    if head.format > MANIFEST_FORMAT:
        raise NewerFormatError(
            f"The entry has format {head.format}, and this Ingrain reads formats up to {MANIFEST_FORMAT}. "
            "Use a newer Ingrain, or delete the model and load it again."
        )
    try:
        return msgspec.json.decode(content, type=Manifest)
    except msgspec.MsgspecError as error:
        raise DamagedEntryError("The manifest is missing or cannot be read.") from error


def _name_of(folder: Path) -> str:
    """Return the user's name of an entry that cannot be used, as far as it can be told."""
    try:
        head = msgspec.json.decode((folder / MANIFEST_FILE).read_bytes(), type=_FormatOnly)
    except (OSError, msgspec.MsgspecError):
        return folder.name
    return head.name or folder.name


def _graph_names(folder: Path) -> list[str]:
    """Return the graphs of an entry by its manifest or, where that is damaged, by its key."""
    try:
        return [graph.name for graph in _read_manifest(folder).graphs]
    except (RepositoryError, MachineError):
        triton = folder.parent.parent / "triton"
        return [found.name for found in triton.glob(f"{folder.name}.*")]


def _sync_tree(root: Path) -> None:
    for path in root.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        else:
            _sync_folder(path)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
