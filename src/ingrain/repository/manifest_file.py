"""Reads ``manifest.json``, or only the name from one that is damaged or of a newer format."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ingrain.errors import DamagedEntryError, NewerFormatError
from ingrain.machine_faults import raise_if_machines
from ingrain.repository.manifest import MANIFEST_FORMAT, Manifest

MANIFEST_FILE = "manifest.json"


class _Head(msgspec.Struct):
    format: int
    name: str = ""


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of an entry.

    Raises:
        DamagedEntryError: The file is missing or invalid.
        NewerFormatError: A newer Ingrain wrote the file.
        MachineError: The machine's fault keeps the file from being opened.
    """
    try:
        content = (folder / MANIFEST_FILE).read_bytes()
        head = msgspec.json.decode(content, type=_Head)
        if head.format <= MANIFEST_FORMAT:
            return msgspec.json.decode(content, type=Manifest)
    except (OSError, msgspec.MsgspecError) as error:
        raise_if_machines(
            error
        )  # a file that cannot be opened now is not damaged; the model must not be exported again
        raise DamagedEntryError("The manifest is missing or cannot be read.") from error
    raise NewerFormatError(
        f"The entry has format {head.format}, and this Ingrain reads formats up to {MANIFEST_FORMAT}. "
        "Use a newer Ingrain, or delete the model and load it again."
    )


def read_name(folder: Path) -> str:
    """Return the user's name of a model whose manifest is unusable; the folder's name if it cannot be read."""
    try:
        head = msgspec.json.decode((folder / MANIFEST_FILE).read_bytes(), type=_Head)
    except (OSError, msgspec.MsgspecError):
        return folder.name
    return head.name or folder.name
