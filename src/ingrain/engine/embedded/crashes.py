"""Holds back a graph whose process has died again and again, so that the others are not restarted with it."""

from __future__ import annotations

from dataclasses import dataclass, field

# A graph that has ended its process so often within so many seconds is held back, at first for so long, and twice as
# long each time that it goes on when it is loaded again.
_ENOUGH = 4
_WITHIN_S = 60.0
_FIRST_HOLD_S = 60.0
_LONGEST_HOLD_S = 1800.0
_FORGET_S = 600.0


@dataclass(slots=True)
class _Record:
    crashes: list[float] = field(default_factory=list)
    holds: int = 0
    held_until: float = float("-inf")


class Crashes:
    """Counts the crashes of each graph; times are monotonic seconds."""

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}

    def count(self, graph: str, now: float) -> None:
        """Record that a graph's process has died or hung."""
        record = self._records.setdefault(graph, _Record())
        if now > record.held_until + _FORGET_S:
            record.holds = 0
        record.crashes = [*(crash for crash in record.crashes if crash > now - _WITHIN_S), now]
        if record.holds or len(record.crashes) >= _ENOUGH:
            record.held_until = now + min(_FIRST_HOLD_S * 2**record.holds, _LONGEST_HOLD_S)
            record.holds += 1
            record.crashes = []

    def held_s(self, graph: str, now: float) -> float:
        """Return the seconds for which a graph may not be loaded; 0 if it may."""
        record = self._records.get(graph)
        return max(0.0, record.held_until - now) if record is not None else 0.0
