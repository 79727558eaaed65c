"""Reads and changes the keys file."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from ingrain.errors import SettingsError
from ingrain.server.keys.entry import KeyEntry

SETTING = "INGRAIN_KEYS_FILE"
_MOST_KEYS = 10_000


class KeysDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Content of the keys file.

    Attributes:
        format: Version of the format.
        keys: The keys; names and digests are unique.
    """

    format: Literal[1] = 1
    keys: tuple[KeyEntry, ...] = ()


def read_keys(path: Path) -> tuple[KeyEntry, ...]:
    """Return the keys of a file.

    Raises:
        SettingsError: The file cannot be read, is no JSON of the right form, or has a name or a key twice.
    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=KeysDocument).keys
    except OSError as error:
        raise _unusable(path, f"it cannot be read ({error.strerror})") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _unusable(path, str(error)) from error
    if len(found) > _MOST_KEYS:
        raise _unusable(path, f"it has {len(found)} keys; the limit is {_MOST_KEYS}")
    if twice := _first_twice([entry.name for entry in found]):
        raise _unusable(path, f"it has the name {twice!r} twice")
    if twice := _first_twice([entry.sha256 for entry in found]):
        raise _unusable(path, f"{next(entry.name for entry in found if entry.sha256 == twice)!r} has another's key")
    return found


def change_keys(path: Path, change: Callable[[tuple[KeyEntry, ...]], tuple[KeyEntry, ...]]) -> None:
    """Replace the keys of a file atomically. Changes wait for one another.

    Only the owner may read the new file, and its group if that alone could read the old one beside the owner.

    Args:
        path: The file; it is created if it is missing.
        change: Returns the new keys from the present ones; it may raise to leave the file as it is.

    Raises:
        SettingsError: The file cannot be read or written.
    """
    import fcntl  # not on Windows, where the other commands work

    path = path.resolve()
    try:
        lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keys = change(read_keys(path) if path.exists() else ())
            _write(path, msgspec.json.format(msgspec.json.encode(KeysDocument(keys=keys))) + b"\n")
        finally:
            os.close(lock)
    except OSError as error:
        raise _unusable(path, f"it cannot be written ({error.strerror})") from error


def is_read_by_others(path: Path) -> bool:
    """Return whether every user of the machine may read the file."""
    return bool(path.stat().st_mode & stat.S_IROTH)


def version_of(path: Path) -> tuple[int, int, int] | None:
    """Return what changes with the file's content or a symbolic link's target; None if the file is missing."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            with suppress(FileNotFoundError, PermissionError):  # the server may be another user than who adds keys
                owner = path.stat()
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
                if owner.st_mode & (stat.S_IRGRP | stat.S_IROTH) == stat.S_IRGRP:  # by which such a server reads it
                    os.fchmod(descriptor, 0o640)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _first_twice(texts: Sequence[str]) -> str | None:
    seen: set[str] = set()
    for text in texts:
        if text in seen:
            return text
        seen.add(text)
    return None


def _unusable(path: Path, why: str) -> SettingsError:
    return SettingsError(f"{SETTING} is {os.fspath(path)!r}, which cannot be used: {why}.", param=SETTING)
