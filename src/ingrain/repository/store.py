"""The model repository on disk: publishes, finds, checks and removes models atomically.

::

    <root>/triton/<graph>/1/model.onnx    read by Triton, like config.pbtxt and model.py in the same folder
    <root>/models/<key>/manifest.json     read by Ingrain, like the tokenizer; a model exists if it has this file
    <root>/custom/<key>/                  models that were fetched from URLs (custom.py)
    <root>/staging/<id>/                  exports and downloads in progress, each with a lock held by its process
    <root>/claims/                        empty files, locked while a process exports, loads or unloads that model
    <root>/desired.json                   the list of models that should be loaded
    <root>/lock                           held during every change
    <root>/<graph>                        links to graphs, only for a Triton whose root is <root> (graph_links.py)
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ingrain.errors import DamagedEntryError, MachineError, ModelConflictError, RepositoryError
from ingrain.machine_faults import naming_repository_faults, raise_if_machines
from ingrain.repository.checksums import check_files
from ingrain.repository.contained import check_entry_links, check_links
from ingrain.repository.custom import CustomSources
from ingrain.repository.durable import stamp_of, sync, sync_tree, write_json
from ingrain.repository.graph_links import unlink_graph
from ingrain.repository.lock import exclusive, if_free
from ingrain.repository.manifest import Graph, Manifest
from ingrain.repository.manifest_file import MANIFEST_FILE, read_manifest, read_name
from ingrain.repository.models_to_load import ModelRef, change_desired, read_desired
from ingrain.repository.names import key_of_graph, model_key
from ingrain.repository.tuning import Tuning

_PROBE_BYTES = 16 * 1024

ChangeTunings = Callable[[tuple[Tuning, ...]], tuple[Tuning, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A published model with a readable manifest."""

    key: str
    folder: Path
    manifest: Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenEntry:
    """A published model that cannot be served, with the error."""

    key: str
    name: str
    error: RepositoryError | MachineError


class Repository:
    """The folder of published models; any number of processes may share it.

    Attributes:
        in_use: Returns the keys of the models that this process has loaded or loads, in the list of models or not.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.triton = root / "triton"
        self.models = root / "models"
        self.custom = CustomSources(root / "custom")
        self.in_use: Callable[[], Iterable[str]] = tuple
        self._staging = root / "staging"
        self._claims = root / "claims"
        self._lock = root / "lock"
        # Stamps of the files whose checksums this process has compared, by the key of the model.
        self._compared: dict[str, tuple[tuple[int, ...], ...]] = {}

    def prepare(self) -> None:
        """Create the folders, and remove the files of exports that died before they were published.

        Raises:
            RepositoryError: The folder cannot be written.
        """
        try:
            for folder in (self.triton, self.models, self.custom.folder, self._staging, self._claims):
                folder.mkdir(parents=True, exist_ok=True)
            with self.locked():
                self._remove_abandoned_staging()
                self._remove_orphaned_graphs()
        except OSError as error:
            raise RepositoryError(
                f"The model repository cannot be written ({error.strerror}). "
                "Give a writable folder as INGRAIN_REPOSITORY."
            ) from error

    def check_writable(self) -> None:
        """Check that models can be changed, before anything of them is changed: write and remove files.

        Raises:
            MachineError: The disk is full, read-only or broken.
        """
        with naming_repository_faults():
            for folder in (self.root, self.triton, self.models, self._staging, self._claims):
                probe = folder / f".probe-{uuid.uuid4().hex}"
                try:
                    probe.write_bytes(bytes(_PROBE_BYTES))
                    sync(probe)
                finally:
                    with suppress(OSError):
                        probe.unlink(missing_ok=True)

    def locked(self) -> AbstractContextManager[None]:
        """Hold the repository's lock, which every change needs."""
        return exclusive(self._lock)

    def try_changing(self, key: str) -> AbstractContextManager[bool]:
        """Lock a model against other processes; the context's value is False if another process holds the lock."""
        return if_free(self._claims / key)

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Yield an empty folder for an export or a download; remove it at the end."""
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
        """Move an export into place, the manifest last, so that a model exists completely or not at all.

        Args:
            staged: Folder with ``model/manifest.json`` and one folder for each graph.

        Raises:
            DamagedEntryError: The staged files do not match the staged manifest.
        """
        manifest = read_manifest(staged / "model")
        key = model_key(manifest.name, manifest.library, manifest.pretrained)
        check_files(staged / "model", manifest.files, contents=True)
        for graph in manifest.graphs:
            check_files(staged / graph.name, graph.files, contents=True)
        sync_tree(staged)
        with self.locked():
            self._remove_entry(key)
            for graph in manifest.graphs:
                (staged / graph.name).rename(self.triton / graph.name)
            (staged / "model").rename(self.models / key)
            sync(self.triton)
            sync(self.models)
        return Entry(key=key, folder=self.models / key, manifest=manifest)

    def publish_custom(self, staged: Path, key: str) -> None:
        """Move a custom source into place with one rename.

        Args:
            staged: Folder to which ``describe_source`` has written the description.
            key: The model's key.

        Raises:
            ModelConflictError: A model with this key was stored meanwhile; it stays.
        """
        sync_tree(staged)
        with self.locked():
            if (self.custom.folder / key).exists() or (self.models / key).exists():
                raise ModelConflictError("A model of this name was stored meanwhile; try again.", param="name")
            staged.rename(self.custom.folder / key)
            sync(self.custom.folder)

    def find(self, key: str) -> Entry | None:
        """Return the entry with this key, or None if there is none.

        Raises:
            DamagedEntryError: The manifest cannot be read, or files are missing.
            NewerFormatError: A newer Ingrain wrote the entry.
            MachineError: The machine's fault keeps the entry from being read.
        """
        folder = self.models / key
        try:
            if not folder.is_dir():
                return None
            entry = Entry(key=key, folder=folder, manifest=self._manifest_of(key))
            self.check(entry, contents=False)
        except OSError as error:
            raise_if_machines(error)
            raise DamagedEntryError("The folder of the model cannot be read.") from error
        return entry

    def obtain(self, key: str) -> Entry | None:
        """Return the entry with this key, in a state in which its files may be opened; see ``find``."""
        return self.find(key)

    def claim_making(self, key: str) -> Callable[[], None] | None:
        """Claim the conversion of a model among all servers, if ``try_changing`` does not reach all of them.

        Returns:
            A function that gives the claim back; None if another server has it.
        """
        del key
        return lambda: None

    def read_manifest(self, key: str) -> Manifest | None:
        """Return an entry's manifest, even if other files are damaged; None if the manifest cannot be read."""
        try:
            return self._manifest_of(key)
        except (RepositoryError, MachineError):
            return None

    def _manifest_of(self, key: str) -> Manifest:
        manifest = read_manifest(self.models / key)
        if model_key(manifest.name, manifest.library, manifest.pretrained) != key:
            raise DamagedEntryError("The manifest is that of another model.")
        return manifest

    def check(self, entry: Entry, *, contents: bool = True) -> None:
        """Compare an entry's files with its manifest: checksums, or only sizes if not ``contents``.

        Checksums that this process has compared are not computed again as long as no file changes.

        Raises:
            DamagedEntryError: A file is missing or differs.
        """
        paths = [entry.folder / file.path for file in entry.manifest.files]
        for graph in entry.manifest.graphs:
            paths += [self.graph_folder(graph.name) / file.path for file in graph.files]
        stamps = tuple(map(stamp_of, (entry.folder / MANIFEST_FILE, *paths)))
        contents = contents and stamps != self._compared.get(entry.key)
        check_entry_links(entry.folder, entry.manifest)
        check_files(entry.folder, entry.manifest.files, contents=contents)
        for graph in entry.manifest.graphs:
            check_links(self.graph_folder(graph.name), [file.path for file in graph.files])
            check_files(self.graph_folder(graph.name), graph.files, contents=contents)
        if contents:
            self._compared[entry.key] = stamps

    def stamp(self, key: str) -> tuple[tuple[int, ...], ...]:
        """Return a value that changes when a model's manifest or graphs are replaced, go away or come back."""
        files = [self.models / key / MANIFEST_FILE]
        files += sorted(self.triton.glob(f"{key}.*/1/model.onnx"))
        return tuple(stamp_of(file) for file in files)

    def entries(self, is_wanted: Callable[[str], bool] = lambda _: True) -> list[Entry | BrokenEntry]:
        """Return the entries whose keys are wanted, including those that cannot be served; all by default."""
        found: list[Entry | BrokenEntry] = []
        for folder in sorted(self.models.iterdir()) if self.models.is_dir() else []:
            if not is_wanted(folder.name):
                continue
            try:
                entry = self.find(folder.name)
            except (RepositoryError, MachineError) as error:
                found.append(BrokenEntry(key=folder.name, name=read_name(folder), error=error))
            else:
                if entry is not None:
                    found.append(entry)
        return found

    def delete(self, key: str) -> None:
        """Remove a model and its custom source, damaged or not, if they exist."""
        with self.locked():
            self._remove_entry(key)
            self._discard(self.custom.folder / key)

    def list_model(self, key: str, ref: ModelRef | None) -> None:
        """Add a model to the list of models to load, replace its reference, or remove it if ``ref`` is None.

        Raises:
            DamagedEntryError: The list is damaged.
            OSError, MachineError: The list cannot be read or written.
        """
        with self.locked():
            change_desired(self.root, key, ref)

    def change_tunings(self, key: str, manifest: Manifest, change: ChangeTunings) -> Entry:
        """Change only the tunings in a model's manifest.

        Args:
            key: The model's key.
            manifest: Manifest of the tuned model.
            change: Returns the new tunings from the stored ones, which another machine may have changed.

        Raises:
            ModelConflictError: The model was removed or replaced meanwhile.
            DamagedEntryError: The entry cannot be read any more.
        """
        with self.locked():
            entry = self.find(key)
            if entry is None or entry.manifest.graphs != manifest.graphs:
                raise replaced_meanwhile(manifest)
            changed = msgspec.structs.replace(entry.manifest, tunings=change(entry.manifest.tunings))
            if changed != entry.manifest:
                write_json(entry.folder / MANIFEST_FILE, changed)
        return Entry(key=key, folder=entry.folder, manifest=changed)

    def graph_folder(self, graph: str) -> Path:
        """Return Triton's folder of a graph."""
        return self.triton / graph

    def locate_graph(self, graph: Graph) -> Path:
        """Return the path of a graph's ONNX file."""
        return self.triton / graph.name / "1" / "model.onnx"

    def _remove_entry(self, key: str) -> None:
        """Remove the manifest first, so that the model no longer exists even if the removal is interrupted.

        The graphs are found by the key: a manifest may have been tampered with.
        """
        graphs = [folder.name for folder in self.triton.glob(f"{key}.*")]
        for graph in graphs:
            unlink_graph(self.triton, graph)
        self._discard(self.models / key, *(self.triton / graph for graph in graphs))

    def _discard(self, *folders: Path) -> None:
        """Remove folders atomically, in this order; skip missing ones."""
        trash = self._staging / uuid.uuid4().hex
        trash.mkdir()
        for folder in folders:
            if folder.exists() or folder.is_symlink():
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
        """Remove graphs without a manifest, left by an interrupted publish or delete.

        A listed model keeps its graphs: a delete takes it off the list first, so its folder is only away.
        """
        keys = {folder.name for folder in self.models.iterdir()}
        try:
            keys |= {ref.key for ref in read_desired(self.root)}
        except (RepositoryError, MachineError):
            return  # it is not known which models should be loaded
        for folder in self.triton.iterdir():
            key = key_of_graph(folder.name)
            if key is not None and key not in keys:
                unlink_graph(self.triton, folder.name)
                shutil.rmtree(folder, ignore_errors=True)


def replaced_meanwhile(manifest: Manifest) -> ModelConflictError:
    """Return the error for the tuning of a model that was removed or replaced while it was tuned."""
    return ModelConflictError(
        f"Model {manifest.name!r} was replaced in the repository while it was tuned; tune it again.", param="name"
    )
