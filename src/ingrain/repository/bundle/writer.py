"""Writes bundles."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ingrain.repository.bundle.header import (
    HEADER_NAME,
    SIGNATURE_NAME,
    BundledModel,
    BundledObject,
    Header,
    object_name,
)
from ingrain.repository.bundle.signature import sign
from ingrain.repository.durable import sync
from ingrain.repository.store import Entry, Repository


def write_bundle(repository: Repository, entries: Sequence[Entry], file: Path, sign_key: Path | None = None) -> Header:
    """Write published models into one file, which appears once it is whole.

    Args:
        repository: Has the models' files.
        entries: The models.
        file: The bundle; replaced if it exists.
        sign_key: PEM file of the private key that signs the bundle; None for no signature.

    Raises:
        DamagedEntryError: A file of a model is missing or differs from its checksum.
        SettingsError: The key cannot be used.
    """
    found: dict[str, Path | bytes] = {}
    sizes: dict[str, int] = {}
    models = []
    for entry in sorted(entries, key=lambda one: one.key):
        repository.check(entry)
        manifest = msgspec.json.format(msgspec.json.encode(entry.manifest))
        digest = hashlib.sha256(manifest).hexdigest()
        models.append(BundledModel(entry.key, entry.manifest.name, digest))
        found[digest], sizes[digest] = manifest, len(manifest)
        folders = [(entry.folder, entry.manifest.files)]
        folders += [(repository.graph_folder(graph.name), graph.files) for graph in entry.manifest.graphs]
        for folder, files in folders:
            for one in files:
                found[one.sha256], sizes[one.sha256] = folder / one.path, one.size_bytes
    objects = tuple(BundledObject(sha256, size) for sha256, size in sorted(sizes.items()))
    header = Header(models=tuple(models), objects=objects)
    content = msgspec.json.format(msgspec.json.encode(header))
    temporary = file.with_name(f".{file.name}.new")
    try:
        # Names are short and sizes may exceed 8 GiB, so GNU's format needs no further members.
        with tarfile.open(temporary, "w", format=tarfile.GNU_FORMAT) as tar:
            _add_bytes(tar, HEADER_NAME, content)
            if sign_key is not None:
                _add_bytes(tar, SIGNATURE_NAME, sign(content, sign_key))
            for bundled in objects:
                place = found[bundled.sha256]
                with io.BytesIO(place) if isinstance(place, bytes) else place.open("rb") as source:
                    tar.addfile(_member(object_name(bundled.sha256), bundled.size_bytes), source)
        sync(temporary)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
    sync(file.resolve().parent)
    return header


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    tar.addfile(_member(name, len(content)), io.BytesIO(content))


def _member(name: str, size: int) -> tarfile.TarInfo:
    """Return a member's head without anything of this machine or this moment."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member
