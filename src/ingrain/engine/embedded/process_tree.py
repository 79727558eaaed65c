"""Finds the children of a process that have died or were stopped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

Fault = Literal["dead", "stopped"]

_FAULTS: Mapping[str, Fault] = {"Z": "dead", "T": "stopped"}


class Children:
    """Finds the children of a process that do no work: zombies, which died and were not reaped, and stopped ones."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._known: dict[int, tuple[str, ...]] = {}

    def faults(self) -> dict[int, Fault]:
        """Return the faults of children by their PIDs; none if the process itself is gone.

        This takes milliseconds: the kernel lists children per thread, and a tritonserver has more than a hundred.
        """
        # A zombie has no command line any more, so keep what was known of it.
        self._known = {child: _command(child) or self._known.get(child, ()) for child in _children(self._pid)}
        return self.faults_of_known()

    def faults_of_known(self) -> dict[int, Fault]:
        """Return the faults of those children that the last call of ``faults`` found."""
        states = {child: _state(child) for child in self._known}
        return {child: _FAULTS[state] for child, state in states.items() if state in _FAULTS}

    def known(self) -> list[int]:
        """Return the children that the last call of ``faults`` found."""
        return list(self._known)

    def command(self, child: int) -> tuple[str, ...]:
        """Return the command line of a child that the last call of ``faults`` found; empty if it was never read."""
        return self._known.get(child, ())


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, path.read_text().split())
        except OSError:
            continue  # the thread has ended
    return found


def _command(pid: int) -> tuple[str, ...]:
    try:
        return tuple(filter(None, Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")))
    except OSError:
        return ()


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
