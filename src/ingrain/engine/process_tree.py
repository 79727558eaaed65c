"""What became of the children of a process of ours."""

from __future__ import annotations

from pathlib import Path


def dead_children(pid: int) -> frozenset[int]:
    """Return the children of a process that have died and that it has not reaped; none where it is gone itself."""
    return frozenset(child for child in _children(pid) if _state(child) == "Z")


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, path.read_text().split())
        except OSError:
            continue  # the thread has ended
    return found


def _state(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return None
