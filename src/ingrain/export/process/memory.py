"""Bounds the memory of an export, so that a model that is too large ends its export and not the server.

Two bounds, because neither suffices. RLIMIT_DATA makes an allocation fail at once, so that the export can say why, but
it counts each process by itself and all that is reserved. The memory in use is counted for all processes of the export
together, but only some times a second. RLIMIT_AS would count files that are mapped, such as the weights, and a GPU's
address space.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ingrain.cgroups import read
from ingrain.errors import OutOfMemoryError
from ingrain.machine_faults import RETRY_AFTER_S
from ingrain.machine_memory import machine_bytes

DEFAULT_SHARE = 0.8

_LOOK_S = 0.2
_FIRST_TO_BE_KILLED = "1000"
_IN_USE = re.compile(r"^Rss(?:Anon|Shmem):\s+(\d+) kB", re.MULTILINE)


class MemoryGuard:
    """Limits the memory of one export.

    Args:
        share: Share of the memory that the export may use.
        total_bytes: All memory; None for that of the machine or the container.

    Attributes:
        was_exceeded: Whether the export was ended because it used more.
    """

    def __init__(self, share: float, total_bytes: int | None = None) -> None:
        total = total_bytes if total_bytes is not None else machine_bytes()
        self.was_exceeded = False
        self._share = share
        self._limit_bytes = None if total is None else int(share * total)

    def restrict(self, pid: int, *, on_gpu: bool) -> None:
        """Limit the allocations of a process that was just started, and have the system end it before others.

        Args:
            pid: The process; its descendants inherit both.
            on_gpu: True if it may use a GPU, whose driver reserves far more memory than it uses.
        """
        if sys.platform != "linux":
            return
        with suppress(OSError):
            Path(f"/proc/{pid}/oom_score_adj").write_text(_FIRST_TO_BE_KILLED, "ascii")
        if self._limit_bytes is not None and not on_gpu:
            import resource

            with suppress(OSError, ValueError):  # the process has ended, or has a lower limit
                resource.prlimit(pid, resource.RLIMIT_DATA, (self._limit_bytes, self._limit_bytes))

    async def watch(self, pid: int) -> None:
        """Return when the processes of a session use more than the limit together."""
        while (  # noqa: ASYNC110  the system has no event for this
            self._limit_bytes is None or await asyncio.to_thread(_used_bytes, pid) <= self._limit_bytes
        ):
            await asyncio.sleep(_LOOK_S)
        self.was_exceeded = True

    def error(self, name: str) -> OutOfMemoryError:
        """Return the error for an export that was ended."""
        gibibytes = (self._limit_bytes or 0) / 2**30
        return OutOfMemoryError(
            f"Exporting {name!r} needs more than {gibibytes:.1f} GiB of memory, which is {self._share:g} of all "
            "(INGRAIN_EXPORT_MEMORY). Load a smaller model, or give the server more memory.",
            retry_after_s=RETRY_AFTER_S,
        )


def _used_bytes(session: int) -> int:
    """Return the memory in use by all processes of a session, without files that are mapped."""
    return sum(int(kib) * 1024 for folder in _members(session) for kib in _IN_USE.findall(read(folder / "status")))


def _members(session: int) -> Iterator[Path]:
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            fields = read(Path(entry.path) / "stat").rpartition(")")[2].split()
            if len(fields) > 3 and fields[3] == str(session):
                yield Path(entry.path)
