"""Reads ``manifest.json``, or only the name from one that is damaged or of a newer format."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import get_args

import msgspec

from ingrain.errors import DamagedEntryError, NewerFormatError
from ingrain.machine_faults import raise_if_machines
from ingrain.repository.contained import check_names
from ingrain.repository.durable import UNREADABLE
from ingrain.repository.manifest import MANIFEST_FORMAT, Manifest
from ingrain.repository.names import model_key
from ingrain.vocabulary import Library

MANIFEST_FILE = "manifest.json"

log = logging.getLogger("ingrain.repository")


class _Head(msgspec.Struct):
    format: int
    name: str = ""
    pretrained: str | None = None


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of an entry; without its tunings if only these cannot be read.

    Raises:
        DamagedEntryError: The file is missing or invalid, or names graphs or files that are not the model's own.
        NewerFormatError: A newer Ingrain wrote the file.
        MachineError: The machine's fault keeps the file from being opened.
    """
    try:
        content = (folder / MANIFEST_FILE).read_bytes()
    except OSError as error:
        # A file that cannot be opened now is not damaged; the model must not be exported again.
        raise_if_machines(error)
        raise DamagedEntryError("The manifest is missing or cannot be read.") from error
    return decode_manifest(content)


def decode_manifest(content: bytes) -> Manifest:
    """Return the manifest in the content of its file; without its tunings if only these cannot be read.

    Raises:
        DamagedEntryError: It is invalid, or names graphs or files that are not the model's own.
        NewerFormatError: A newer Ingrain wrote it.
    """
    try:
        head = msgspec.json.decode(content, type=_Head)
        if head.format <= MANIFEST_FORMAT:
            manifest = _decode(content)
            check_names(manifest)
            return manifest
    except UNREADABLE as error:
        raise_if_machines(error)
        raise DamagedEntryError("The manifest is missing or cannot be read.") from error
    raise NewerFormatError(
        f"The entry has format {head.format}, and this Ingrain reads formats up to {MANIFEST_FORMAT}. "
        "Use a newer Ingrain, or delete the model and load it again."
    )


def _decode(content: bytes) -> Manifest:
    try:
        return msgspec.json.decode(content, type=Manifest)
    except msgspec.ValidationError as error:
        fields = msgspec.json.decode(content)
        if fields.pop("tunings", None) is None:
            raise
        manifest = msgspec.convert(fields, Manifest)
        log.error("The tunings of model %r are ignored, because they cannot be read: %s", manifest.name, error)
        return manifest


def read_name(folder: Path) -> str:
    """Return the user's name of a model whose manifest is unusable; the folder's name if it cannot be read."""
    try:
        head = msgspec.json.decode((folder / MANIFEST_FILE).read_bytes(), type=_Head)
        keys = [model_key(head.name, library, head.pretrained) for library in get_args(Library)]
    except (OSError, *UNREADABLE):
        return folder.name
    # A tampered manifest must not take the name of another model.
    return head.name if folder.name in keys else folder.name
