"""Names folders and shared memory after the process that made them, and removes those of dead processes."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Triton's Python backend puts its regions
_PREFIX = "ingrain-triton"
_NAME = re.compile(rf"{_PREFIX}-(?P<namespace>\d+)-(?P<pid>\d+)-(?P<born>\d+)-[0-9a-f]{{8}}")
_STAT_START_TIME = 19  # field 22 of /proc/PID/stat; the first two are cut off


def new_name() -> str:
    """Return a name of this process, different at every call.

    It holds the process's namespace, id and time of birth: ids are used again, and a folder or ``/dev/shm`` may be
    shared with containers whose process ids mean nothing here.
    """
    return f"{_PREFIX}-{_namespace()}-{os.getpid()}-{_born(os.getpid())}-{secrets.token_hex(4)}"


def private_folder(name: str, longest: int) -> Path:
    """Make a folder that only we can enter.

    Args:
        name: From ``new_name``.
        longest: Most characters that the folder's path may have; ``/tmp`` is taken where ``TMPDIR`` is longer.
    """
    folder = Path(tempfile.gettempdir()) / name
    if len(os.fspath(folder)) > longest:
        folder = Path("/tmp") / name  # noqa: S108 - made with mode 0700 below, and refused if it exists
    folder.mkdir(mode=0o700)
    return folder


def remove_named(name: str) -> None:
    """Remove the shared memory whose names begin with ``name``."""
    for path in SHARED_MEMORY.glob(f"{name}*"):
        path.unlink(missing_ok=True)


def sweep() -> None:
    """Remove folders and shared memory of processes that are dead."""
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
    """Return the time of birth of a process, in clock ticks since boot; None if it is dead."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field is the command's name, which may hold spaces and brackets.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[_STAT_START_TIME])
