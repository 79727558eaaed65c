"""Custom sources: model files that were fetched from a user's URLs.

::

    <root>/custom/<key>/source.json    the user's name of the model, and the checksums of its files
    <root>/custom/<key>/files/         the folder that the source library reads
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from ingrain.errors import DamagedEntryError, MachineError
from ingrain.machine_faults import raise_if_machines
from ingrain.repository.checksums import check_files, describe_file
from ingrain.repository.contained import check_links, check_paths
from ingrain.repository.durable import UNREADABLE, write_json
from ingrain.repository.manifest import StoredFile
from ingrain.vocabulary import Library

DESCRIPTION_FILE = "source.json"
FILES_FOLDER = "files"


class CustomSource(msgspec.Struct, frozen=True, kw_only=True):
    """Contents of ``source.json``. The URLs are not stored, because they may contain signatures.

    Attributes:
        name: The user's name of the model.
        library: The source library.
        pretrained: The user's own weight tag of an OpenCLIP model, if any.
        created_at: UTC, ISO 8601.
        files: The model's files, relative to ``files/``.
    """

    name: str
    library: Library
    pretrained: str | None = None
    created_at: str
    files: tuple[StoredFile, ...]


class CustomSources:
    """Reads the folder of custom sources, also in the export process.

    Args:
        folder: ``<root>/custom``; a missing folder counts as empty.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, key: str) -> CustomSource | None:
        """Return the source with this key, after checking its files; None if there is none.

        Raises:
            DamagedEntryError: The description cannot be read, or a file is missing or has another size.
        """
        if not (self.folder / key).is_dir():
            return None
        try:
            source = msgspec.json.decode((self.folder / key / DESCRIPTION_FILE).read_bytes(), type=CustomSource)
        except (OSError, *UNREADABLE) as error:
            raise_if_machines(error)
            raise DamagedEntryError("The description of a custom model cannot be read.") from error
        paths = [file.path for file in source.files]
        check_paths(paths)
        check_links(self.folder / key, [FILES_FOLDER, *(f"{FILES_FOLDER}/{path}" for path in paths)])
        check_files(self.files_of(key), source.files, contents=False)
        return source

    def files_of(self, key: str) -> Path:
        """Return the folder that the source library reads."""
        return self.folder / key / FILES_FOLDER

    def entries(self) -> Iterator[tuple[str, CustomSource | DamagedEntryError | MachineError]]:
        """Yield every key with its source, or with the error of reading it."""
        for folder in sorted(self.folder.iterdir()) if self.folder.is_dir() else []:
            try:
                source = self.find(folder.name)
            except (DamagedEntryError, MachineError) as error:
                yield folder.name, error
            else:
                if source is not None:
                    yield folder.name, source


def describe_source(
    staged: Path, *, name: str, library: Library, pretrained: str | None, created_at: str
) -> CustomSource:
    """Write the description of a staged source, whose files lie in ``staged/files``."""
    files = staged / FILES_FOLDER
    paths = sorted(path.relative_to(files).as_posix() for path in files.rglob("*") if path.is_file())
    source = CustomSource(
        name=name,
        library=library,
        pretrained=pretrained,
        created_at=created_at,
        files=tuple(describe_file(files, path) for path in paths),
    )
    write_json(staged / DESCRIPTION_FILE, source)
    return source
