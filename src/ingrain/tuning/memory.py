"""Reads from the kernel how much memory is free."""

from __future__ import annotations

import re
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def free_bytes(proc: Path = Path("/proc"), cgroups: Path = _CGROUPS) -> int | None:
    """Return the free memory of the machine, or of a cgroup if that has less; None if unknown.

    Args:
        proc: Mount point of procfs.
        cgroups: Mount point of cgroups version 2.
    """
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", (proc / "meminfo").read_text("ascii"), re.MULTILINE)
    except OSError:
        found = None
    limits = [int(found[1]) * 1024] if found else []
    return min([*limits, *_left_in_groups(proc, cgroups)], default=None)


def _left_in_groups(proc: Path, cgroups: Path) -> list[int]:
    try:
        own = re.search(r"^0::/(.*)$", (proc / "self" / "cgroup").read_text("utf-8"), re.MULTILINE)
    except OSError:
        own = None
    folder = cgroups / own[1] if own else cgroups
    left = []
    for group in (folder, *folder.parents):
        if group.is_relative_to(cgroups):
            left += [one] if (one := _left(group)) is not None else []
    return left


def _left(group: Path) -> int | None:
    """Return the free memory of a cgroup, including reclaimable file cache; None if it has no limit."""
    try:
        limit = (group / "memory.max").read_text("ascii").strip()
        used = int((group / "memory.current").read_text("ascii"))
        cached = re.search(r"^inactive_file (\d+)$", (group / "memory.stat").read_text("ascii"), re.MULTILINE)
    except (OSError, ValueError):
        return None
    if not limit.isdigit():
        return None
    return max(0, int(limit) - used + (int(cached[1]) if cached else 0))
