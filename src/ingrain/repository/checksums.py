"""Computes and compares sizes and checksums of files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from ingrain.errors import DamagedEntryError
from ingrain.machine_faults import raise_if_machines
from ingrain.repository.manifest import StoredFile


def describe_file(folder: Path, path: str) -> StoredFile:
    """Return path, size and checksum of a file; ``path`` is relative to the folder."""
    file = folder / path
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return StoredFile(path=path, size_bytes=file.stat().st_size, sha256=digest)


def check_files(folder: Path, files: Iterable[StoredFile], *, contents: bool) -> None:
    """Compare files with their descriptions in the manifest.

    Args:
        folder: The folder of the files.
        files: The descriptions.
        contents: True to compare checksums too, False for sizes only.

    Raises:
        DamagedEntryError: A file is missing or differs.
    """
    for expected in files:
        file = folder / expected.path
        try:
            size = file.stat().st_size
        except OSError as error:
            raise_if_machines(error)
            raise DamagedEntryError(f"The file {expected.path} is missing.") from error
        if size != expected.size_bytes:
            raise DamagedEntryError(f"The file {expected.path} has {size} bytes instead of {expected.size_bytes}.")
        if contents and describe_file(folder, expected.path).sha256 != expected.sha256:
            raise DamagedEntryError(f"The checksum of {expected.path} is not the one in the manifest.")
