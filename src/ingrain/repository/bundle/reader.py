"""Reads bundles, which may come from anywhere: nothing is believed before it is checked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ingrain.errors import BundleError, DamagedEntryError
from ingrain.repository.bundle.header import (
    HEADER_NAME,
    MAX_HEADER_BYTES,
    MAX_MANIFEST_BYTES,
    SIGNATURE_NAME,
    BundledModel,
    Header,
    decode_header,
    object_name,
)
from ingrain.repository.bundle.members import Member, open_members
from ingrain.repository.bundle.signature import SIGNATURE_BYTES, check_signature
from ingrain.repository.manifest import Manifest
from ingrain.repository.manifest_file import decode_manifest
from ingrain.repository.names import model_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle whose objects all have their checksums.

    Attributes:
        file: The file.
        header: Its header.
        manifests: The models' manifests by key.
        is_signed: Whether it has a signature, checked or not.
    """

    file: Path
    header: Header
    manifests: Mapping[str, Manifest]
    is_signed: bool


def read_bundle(file: Path, public_key: Path | None = None) -> Bundle:
    """Read a whole bundle and check everything in it; write nothing.

    Args:
        file: The bundle.
        public_key: PEM file of the public key that it must be signed for; None to accept any.

    Raises:
        BundleError: The file is no bundle, damaged, tampered with, or not signed for the key; the message says what.
        NewerFormatError: A newer Ingrain wrote it, or a manifest in it.
        SettingsError: The key cannot be used.
    """
    with open_members(file) as members:
        header, content, signature, rest = _read_header(members)
        if public_key is not None:
            check_signature(signature, content, public_key)
        wanted = {model.manifest for model in header.models}
        manifests: dict[str, bytes] = {}
        for sha256, member in _objects(rest, header):
            digest = hashlib.sha256()
            for piece in member.pieces():
                digest.update(piece)
            if digest.hexdigest() != sha256:
                raise BundleError(f"The checksum of {member.name} is not the one in its name.")
            if sha256 in wanted:
                manifests[sha256] = _content(member, MAX_MANIFEST_BYTES)
    sizes = {one.sha256: one.size_bytes for one in header.objects}
    decoded = {model.key: _manifest(model, manifests, sizes) for model in header.models}
    return Bundle(file=file, header=header, manifests=decoded, is_signed=signature is not None)


def extract(bundle: Bundle, places: Mapping[Path, str]) -> None:
    """Write objects to new files; the caller compares checksums again, because the bundle may have changed meanwhile.

    Args:
        bundle: A bundle that was read before.
        places: Checksums of the objects by file.

    Raises:
        BundleError: The file is not as it was.
    """
    files: dict[str, list[Path]] = {}
    for path, sha256 in places.items():
        files.setdefault(sha256, []).append(path)
    with open_members(bundle.file) as members:
        header, _, _, rest = _read_header(members)
        if header != bundle.header:
            raise BundleError("The bundle was replaced while it was read.")
        for sha256, member in _objects(rest, header):
            for path in files.get(sha256, []):
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as target:
                    target.writelines(member.pieces())


def _read_header(members: Iterator[Member]) -> tuple[Header, bytes, bytes | None, Iterator[Member]]:
    """Return the header, its bytes, the signature if there is one, and the members behind them."""
    first = next(members, None)
    if first is None or first.name != HEADER_NAME:
        raise BundleError(f"The file is no bundle of Ingrain: it does not begin with {HEADER_NAME}.")
    content = _content(first, MAX_HEADER_BYTES)
    header = decode_header(content)
    second = next(members, None)
    if second is None or second.name != SIGNATURE_NAME:
        return header, content, None, _chained(second, members)
    return header, content, _content(second, SIGNATURE_BYTES), members


def _chained(first: Member | None, rest: Iterator[Member]) -> Iterator[Member]:
    if first is not None:
        yield first
    yield from rest


def _objects(members: Iterator[Member], header: Header) -> Iterator[tuple[str, Member]]:
    """Yield the checksum and the member of each object; no other members, in no other order, and all of them."""
    for expected in header.objects:
        member = next(members, None)
        if member is None:
            raise BundleError(f"The bundle lacks {object_name(expected.sha256)}, which its header names.")
        if member.name != object_name(expected.sha256):
            raise BundleError(f"The bundle has the member {member.name[:100]!r} where its header names another one.")
        if member.size != expected.size_bytes:
            raise BundleError(f"{member.name} has {member.size} bytes instead of {expected.size_bytes}.")
        yield expected.sha256, member
    if (member := next(members, None)) is not None:
        raise BundleError(f"The bundle has the member {member.name[:100]!r}, which its header does not name.")


def _content(member: Member, max_bytes: int) -> bytes:
    if member.size > max_bytes:
        raise BundleError(f"The bundle's member {member.name} has {member.size} bytes; at most {max_bytes} are read.")
    return b"".join(member.pieces())


def _manifest(model: BundledModel, manifests: Mapping[str, bytes], sizes: Mapping[str, int]) -> Manifest:
    """Decode a model's manifest, and check that it is this model's and that all its files are in the bundle."""
    if not f"{model.name}{model.key}".isprintable():  # they are shown in terminals
        raise BundleError(f"The bundle has a model called {model.name[:100]!r}, which no model can be called.")
    if model.manifest not in manifests:
        raise BundleError(f"The bundle lacks the manifest of model {model.name[:100]!r}.")
    try:
        manifest = decode_manifest(manifests[model.manifest])
    except DamagedEntryError as error:
        raise BundleError(f"The manifest of model {model.name[:100]!r} cannot be used: {error.message}") from error
    if model_key(manifest.name, manifest.library, manifest.pretrained) != model.key or manifest.name != model.name:
        raise BundleError(f"The manifest of model {model.name[:100]!r} is that of another model.")
    for file in (*manifest.files, *(file for graph in manifest.graphs for file in graph.files)):
        if sizes.get(file.sha256) != file.size_bytes:
            raise BundleError(f"The bundle lacks the file {file.path[:100]!r} of model {model.name[:100]!r}.")
    return manifest
