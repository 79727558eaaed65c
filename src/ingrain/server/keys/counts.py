"""The counters of one API key, as a value that can be sent to another process and summed."""

from __future__ import annotations

import msgspec


class KeyCounts(msgspec.Struct):
    """The requests of one named API key: answers by status, refusals by reason, and the tokens of their texts."""

    answers: dict[int, int] = {}
    refusals: dict[str, int] = {}
    tokens: int = 0

    def answer(self, status: int) -> None:
        """Count an answered request."""
        self.answers[status] = self.answers.get(status, 0) + 1

    def refuse(self, reason: str) -> None:
        """Count a request that the key does not allow."""
        self.refusals[reason] = self.refusals.get(reason, 0) + 1

    def add(self, other: KeyCounts) -> None:
        """Add another process's counters."""
        self.tokens += other.tokens
        for status, count in other.answers.items():
            self.answers[status] = self.answers.get(status, 0) + count
        for reason, count in other.refusals.items():
            self.refusals[reason] = self.refusals.get(reason, 0) + count
