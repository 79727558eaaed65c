"""Finds the dead children of a process."""

from __future__ import annotations

from pathlib import Path


class Children:
    """Finds the zombie children of a process: those that have died and were not reaped."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._known: tuple[int, ...] = ()

    def dead(self) -> frozenset[int]:
        """Return the PIDs of dead children; none if the process itself is gone.

        This takes milliseconds: the kernel lists children per thread, and a tritonserver has more than a hundred.
        """
        self._known = tuple(_children(self._pid))
        return self.dead_of_known()

    def dead_of_known(self) -> frozenset[int]:
        """Return the PIDs of dead children among those that the last call of ``dead`` found."""
        return frozenset(child for child in self._known if _state(child) == "Z")


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
