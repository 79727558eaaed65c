"""Reads how much memory the machine has and how much is free, or the container if it may use less."""

from __future__ import annotations

import re
from pathlib import Path

from ingrain.cgroups import CGROUPS, PROC, groups, read

_LIMITS = ("memory.max", "memory.limit_in_bytes")


def machine_bytes(proc: Path = PROC, cgroups: Path = CGROUPS) -> int | None:
    """Return the memory of the machine, or of the container if that has less; None if unknown.

    Args:
        proc: Mount point of procfs.
        cgroups: Mount point of cgroups, version 1 or 2.
    """
    limits = [
        int(text)
        for group in groups("memory", proc, cgroups)
        for name in _LIMITS
        if (text := read(group / name).strip()).isdigit()
    ]
    return min([*_in_meminfo(proc, "MemTotal"), *limits], default=None)


def free_bytes(proc: Path = PROC, cgroups: Path = CGROUPS) -> int | None:
    """Return the free memory of the machine, or of a cgroup if that has less; None if unknown.

    Args:
        proc: Mount point of procfs.
        cgroups: Mount point of cgroups version 2.
    """
    left = [found for group in groups("memory", proc, cgroups) if (found := _left(group)) is not None]
    return min([*_in_meminfo(proc, "MemAvailable"), *left], default=None)


def resident_bytes(pid: int, proc: Path = PROC) -> int | None:
    """Return the resident memory of a process; None if it has ended, or this is not Linux."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", read(proc / str(pid) / "status"), re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _in_meminfo(proc: Path, name: str) -> list[int]:
    found = re.search(rf"^{name}:\s+(\d+) kB", read(proc / "meminfo"), re.MULTILINE)
    return [int(found[1]) * 1024] if found else []


def _left(group: Path) -> int | None:
    """Return the free memory of a cgroup, including reclaimable file cache; None if it has no limit."""
    limit, used = read(group / "memory.max").strip(), read(group / "memory.current").strip()
    if not limit.isdigit() or not used.isdigit():
        return None
    cached = re.search(r"^inactive_file (\d+)$", read(group / "memory.stat"), re.MULTILINE)
    return max(0, int(limit) - int(used) + (int(cached[1]) if cached else 0))
