"""Names folders and shared memory after the process that created them, and removes those of dead processes."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - Triton's Python backend creates its regions there
_PREFIX = "ingrain-triton"
_NAME = re.compile(rf"{_PREFIX}-(?P<namespace>\d+)-(?P<pid>\d+)-(?P<born>\d+)-[0-9a-f]{{8}}")
_STAT_START_TIME = 19  # field 22 of /proc/PID/stat, counted without the first two


def new_name() -> str:
    """Return a name that identifies this process and is different at every call.

    The name holds the process's PID namespace, PID and start time: PIDs are reused, and containers with other PID
    namespaces may share a folder or ``/dev/shm``.
    """
    return f"{_PREFIX}-{_namespace()}-{os.getpid()}-{_born(os.getpid())}-{secrets.token_hex(4)}"


def private_folder(name: str, longest: int) -> Path:
    """Create a temporary folder that only this user can enter.

    Args:
        name: From ``new_name``.
        longest: Maximum length of the folder's path; if the path under ``TMPDIR`` is longer, ``/tmp`` is used.
    """
    folder = Path(tempfile.gettempdir()) / name
    if len(os.fspath(folder)) > longest:
        folder = Path("/tmp") / name  # noqa: S108 - created with mode 0700 below, which fails if it exists
    folder.mkdir(mode=0o700)
    return folder


def remove_named(name: str) -> None:
    """Remove the shared memory regions whose names begin with ``name``."""
    for path in SHARED_MEMORY.glob(f"{name}*"):
        path.unlink(missing_ok=True)


def sweep() -> None:
    """Remove folders and shared memory of dead processes."""
    for parent in {Path(tempfile.gettempdir()), Path("/tmp"), SHARED_MEMORY}:  # noqa: S108 - see private_folder
        for path in parent.glob(f"{_PREFIX}-*"):
            if _is_ours(path) and _is_orphan(path.name):
                _remove(path)


def _is_ours(path: Path) -> bool:
    try:
        return path.lstat().st_uid == os.geteuid()
    except OSError:
        return False


def _is_orphan(name: str) -> bool:
    match = _NAME.match(name)
    if match is None or int(match["namespace"]) != _namespace():
        return False
    return _born(int(match["pid"])) != int(match["born"])


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


def _born(pid: int) -> int | None:
    """Return the start time of a process, in clock ticks since boot; None if it is dead."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field is the command's name, which may contain spaces and parentheses.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[_STAT_START_TIME])
