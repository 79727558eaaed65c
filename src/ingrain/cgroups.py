"""Finds the control groups that limit this process: those of its container, and those above it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def read(path: Path) -> str:
    """Return a file of the kernel; empty if it is not there, or its process has ended."""
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def groups(controller: str, proc: Path = PROC, cgroups: Path = CGROUPS) -> Iterator[Path]:
    """Yield the folders of the cgroups, of version 1 or 2, in which a controller may limit this process.

    Args:
        controller: Such as ``memory`` or ``cpu``.
        proc: Mount point of procfs.
        cgroups: Mount point of the cgroups.
    """
    for line in (read(proc / "self" / "cgroup") or "0::/").splitlines():
        _, controllers, own = line.split(":", 2)
        if not controllers or controller in controllers.split(","):
            root = cgroups / controllers
            folder = root / own.strip("/")
            for group in (folder, *folder.parents):
                # In a container the path in /proc may be the host's; the container's own group is then the root.
                if group.is_relative_to(root):
                    yield group
