"""The list of all faults, and how a function gets into it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from chaos.set_up import NAMES, SetUp

Limit = Literal["outage", "worker", "hang"]
"""Which limit holds for the outage that a fault may cause: in general, of one worker, or of what hangs for ever."""

Inflict = Callable[[SetUp], Awaitable[float]]
"""Does the fault; returns the seconds for which it was kept up before it was taken back, 0 for one that is not."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that can be done to some set-ups.

    Attributes:
        name: Name on the command line.
        inflict: The function.
        set_ups: Names of the set-ups that have what the fault needs.
        limit: The limit of its outage.
        is_covered_in: Names of the set-ups in which other parts take over at once, so that every answer is 200.
        may_corrupt: Whether it changes bytes that nobody can check, so that wrong vectors and refused batches are not
            the server's fault.
    """

    name: str
    inflict: Inflict
    set_ups: tuple[str, ...]
    limit: Limit
    is_covered_in: tuple[str, ...]
    may_corrupt: bool


FAULTS: dict[str, Fault] = {}


def fault(
    *set_ups: str, limit: Limit = "outage", is_covered_in: tuple[str, ...] = (), may_corrupt: bool = False
) -> Callable[[Inflict], Inflict]:
    """Register a function as a fault of some set-ups, of all if none is named."""

    def register(inflict: Inflict) -> Inflict:
        name = inflict.__name__  # type: ignore[attr-defined]
        FAULTS[name] = Fault(name, inflict, set_ups or NAMES, limit, is_covered_in, may_corrupt)
        return inflict

    return register
