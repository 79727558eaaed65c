"""Reads how much memory the machine has and how much is free, or the container if it may use less."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
_LIMITS = ("memory.max", "memory.limit_in_bytes")


def machine_bytes(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int | None:
    """Return the memory of the machine, or of the container if that has less; None if unknown.

    Args:
        proc: Mount point of procfs.
        cgroups: Mount point of cgroups, version 1 or 2.
    """
    limits = [
        int(text)
        for group in _groups(proc, cgroups)
        for name in _LIMITS
        if (text := read(group / name).strip()).isdigit()
    ]
    return min([*_in_meminfo(proc, "MemTotal"), *limits], default=None)


def free_bytes(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int | None:
    """Return the free memory of the machine, or of a cgroup if that has less; None if unknown.

    Args:
        proc: Mount point of procfs.
        cgroups: Mount point of cgroups version 2.
    """
    left = [found for group in _groups(proc, cgroups) if (found := _left(group)) is not None]
    return min([*_in_meminfo(proc, "MemAvailable"), *left], default=None)


def read(path: Path) -> str:
    """Return a file of the kernel; empty if it is not there, or its process has ended."""
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _in_meminfo(proc: Path, name: str) -> list[int]:
    found = re.search(rf"^{name}:\s+(\d+) kB", read(proc / "meminfo"), re.MULTILINE)
    return [int(found[1]) * 1024] if found else []


def _groups(proc: Path, cgroups: Path) -> Iterator[Path]:
    """Yield the folders of the cgroups that may limit the memory of this process."""
    for line in (read(proc / "self" / "cgroup") or "0::/").splitlines():
        _, controllers, own = line.split(":", 2)
        if controllers in ("", "memory"):
            root = cgroups / controllers
            folder = root / own.strip("/")
            for group in (folder, *folder.parents):
                # In a container the path in /proc may be the host's; the container's own group is then the root.
                if group.is_relative_to(root):
                    yield group


def _left(group: Path) -> int | None:
    """Return the free memory of a cgroup, including reclaimable file cache; None if it has no limit."""
    limit, used = read(group / "memory.max").strip(), read(group / "memory.current").strip()
    if not limit.isdigit() or not used.isdigit():
        return None
    cached = re.search(r"^inactive_file (\d+)$", read(group / "memory.stat"), re.MULTILINE)
    return max(0, int(limit) - int(used) + (int(cached[1]) if cached else 0))
