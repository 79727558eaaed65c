"""Keys files as `ingrain keys` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ingrain.server.keys.entry import KeyEntry, digest_of
from ingrain.server.keys.file import change_keys


def secret(name: str) -> str:
    """Return the key of this name."""
    return f"key-of-{name}-{'0123456789abcdef' * 2}"


def header(name: str) -> dict[str, str]:
    """Return the header of a request with the key of this name."""
    return {"authorization": f"Bearer {secret(name)}"}


def entry(name: str, **fields: Any) -> KeyEntry:
    """Return a key of this name, with the scope ``infer`` unless others are given."""
    return KeyEntry(name=name, sha256=digest_of(secret(name).encode()).hex(), **{"scopes": ("infer",), **fields})


def write_keys(path: Path, *entries: KeyEntry) -> Path:
    """Write a file with these keys and no others; return its path."""
    change_keys(path, lambda _: entries)
    return path
