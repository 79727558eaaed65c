"""The header of a bundle."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from ingrain.errors import BundleError, NewerFormatError
from ingrain.repository.durable import UNREADABLE

FORMAT = 1
HEADER_NAME = "ingrain-bundle.json"
SIGNATURE_NAME = "ingrain-bundle.sig"
MAX_HEADER_BYTES = 16 * 1024 * 1024
MAX_MANIFEST_BYTES = 16 * 1024 * 1024

Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class BundledObject(msgspec.Struct, frozen=True):
    """Size in bytes and checksum of an object."""

    sha256: Sha256
    size_bytes: Annotated[int, Meta(ge=0)]


class BundledModel(msgspec.Struct, frozen=True):
    """A model: its key in the repository, its name for people, and the checksum of its manifest."""

    key: str
    name: str
    manifest: Sha256


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a bundle; objects are sorted by checksum."""

    format: int = FORMAT
    models: tuple[BundledModel, ...]
    objects: tuple[BundledObject, ...]


class _Head(msgspec.Struct):
    format: int


def object_name(sha256: str) -> str:
    """Return the name of an object's member."""
    return f"objects/{sha256}"


def decode_header(content: bytes) -> Header:
    """Decode and check a header.

    Raises:
        NewerFormatError: A newer Ingrain wrote the bundle.
        BundleError: It cannot be read, or names an object or a model twice.
    """
    try:
        found = msgspec.json.decode(content, type=_Head).format
        if found > FORMAT:
            raise NewerFormatError(
                f"The bundle has format {found}, and this Ingrain reads formats up to {FORMAT}. Use a newer Ingrain."
            )
        header = msgspec.json.decode(content, type=Header)
    except UNREADABLE as error:
        raise BundleError("The bundle's header cannot be read.") from error
    names = [one.sha256 for one in header.objects]
    if names != sorted(set(names)):
        raise BundleError("The bundle's header does not have each object once, sorted by checksum.")
    if len({model.key for model in header.models}) != len(header.models):
        raise BundleError("The bundle's header has a model twice.")
    return header
