"""Atomic writes that survive a power failure."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
"""Errors of decoding a damaged JSON file: no JSON, no UTF-8, values of other types, or too deep."""


def write_json(path: Path, value: object) -> None:
    """Write a value as indented JSON atomically: readers see either the old file or the new one."""
    write_bytes(path, msgspec.json.format(msgspec.json.encode(value)))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically: readers see either the old file or the new one."""
    temporary = path.with_name(f"{path.name}.new")
    try:
        temporary.write_bytes(content)
        sync(temporary)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def set_aside(path: Path) -> Path:
    """Rename a damaged file, so that it does no more harm and can still be looked at; return the new path."""
    kept = path.with_name(f"{path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}")
    path.rename(kept)
    sync(path.parent)
    return kept


def stamp_of(path: Path) -> tuple[int, ...]:
    """Return a value that changes when a file is replaced or written; () if it is missing or cannot be reached."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(root: Path) -> None:
    """Flush all files and folders below a folder to the disk."""
    for path in root.rglob("*"):
        sync(path)
