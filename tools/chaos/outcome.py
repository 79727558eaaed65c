"""Sums up what clients got while faults were done to a set-up, and says what of it is a failure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from chaos.faults import Fault
from chaos.faults.registration import Limit
from chaos.load import Asked

_SHOWN = 10


@dataclass(slots=True)
class Done:
    """A fault that was done.

    Attributes:
        fault: Which one.
        began: When, of the monotonic clock.
        whole: When all parts of the set-up served again.
        outage_s: Longest time that any request waited for its right answer, without the time for which the fault was
            kept up.
        recovery_s: Seconds from the end of the fault until all parts of the set-up served again.
        not_ready: How often a front end was no more ready, or did not answer, of several the one with the most.
    """

    fault: Fault
    began: float
    whole: float
    outage_s: float
    recovery_s: float
    not_ready: int = 0


@dataclass(slots=True)
class Outcome:
    """What happened to one set-up.

    Attributes:
        set_up: Its name.
        asked: All requests.
        done: All faults.
        problems: What faults found wrong besides.
        memory: Resident MiB of each process at the start and at the end.
    """

    set_up: str
    asked: list[Asked] = field(default_factory=list)
    done: list[Done] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    memory: dict[str, list[float]] = field(default_factory=dict)

    def answers(self) -> Counter[str]:
        """Count the attempts of all requests by status, or by the client's error."""
        return Counter(str(answer) for asked in self.asked for _, answer in asked.answers)

    def wrong(self) -> list[Asked]:
        """Return the requests with wrong vectors, without those of faults that corrupt numbers."""
        return [asked for asked in self.asked if asked.is_wrong and not self._is_excused(asked)]

    def refused(self) -> list[Asked]:
        """Return the requests with an answer that no client should get, without those of faults that corrupt bytes."""
        found = (asked for asked in self.asked if asked.refusal and not asked.is_wrong)
        return [asked for asked in found if not self._is_excused(asked)]

    def lost(self) -> list[Asked]:
        """Return the requests that were given up."""
        return [asked for asked in self.asked if not asked.is_right and not asked.is_wrong]

    def failures(self, limits: dict[Limit, float]) -> list[str]:
        """Return every reason why the run has failed, as lines."""
        lines = []
        if wrong := self.wrong():
            lines += [f"{len(wrong)} wrong, for example {wrong[0].refusal}"]
        for asked in self.lost()[:_SHOWN]:
            statuses = Counter(str(answer) for _, answer in asked.answers)
            lines.append(f"lost after {asked.took_s:.1f} s: {dict(statuses)} {asked.refusal}")
        for asked in self.refused()[:_SHOWN]:
            lines.append(f"an answer that no client should get, after {self._fault_at(asked)}: {asked.refusal}")
        for done in self.done:
            limit_s = limits[done.fault.limit]
            if done.outage_s > limit_s:
                lines.append(f"{done.fault.name}: a request waited {done.outage_s:.1f} s, more than {limit_s:g} s")
            if self.set_up in done.fault.is_covered_in and (refused := self._refused_during(done)):
                lines.append(f"{done.fault.name}: answers to clients while others should have served: {dict(refused)}")
        return [f"{self.set_up}: {line}" for line in (*lines, *self.problems)]

    def report(self) -> dict[str, Any]:
        """Return the outcome as values for JSON."""
        return {
            "setUp": self.set_up,
            "requests": len(self.asked),
            "wrong": len(self.wrong()),
            "lost": len(self.lost()),
            "wrongWhileBytesWereCorrupted": sum(asked.is_wrong for asked in self.asked) - len(self.wrong()),
            "longestRetryAfterS": max((asked.retry_after_s for asked in self.asked), default=0.0),
            "answers": dict(sorted(self.answers().items())),
            "faults": {
                name: {
                    "times": len(found),
                    "longestOutageS": round(max(done.outage_s for done in found), 2),
                    "longestRecoveryS": round(max(done.recovery_s for done in found), 2),
                    "mostTimesNotReady": max(done.not_ready for done in found),
                }
                for name, found in self._by_fault().items()
            },
            "memoryMib": {name: [round(one, 1) for one in values] for name, values in self.memory.items()},
            "problems": self.problems,
        }

    def lines(self) -> list[str]:
        """Return the outcome as lines for people."""
        report = self.report()
        answers = ", ".join(f"{count} x {answer}" for answer, count in report["answers"].items())
        lines = [
            f"{self.set_up}: {report['requests']} requests, {report['wrong']} wrong, {report['lost']} lost; {answers}; "
            f"longest Retry-After {report['longestRetryAfterS']:g} s",
            f"  {'fault':<24} {'times':>5} {'outage':>8} {'recovery':>9} {'not ready':>9}",
        ]
        for name, row in report["faults"].items():
            lines.append(
                f"  {name:<24} {row['times']:>5} {row['longestOutageS']:>6.1f} s {row['longestRecoveryS']:>7.1f} s "
                f"{row['mostTimesNotReady']:>9}"
            )
        for name, (start, end) in sorted(self.memory.items()):
            lines.append(f"  {name:<24} {start:6.0f} MiB at the start, {end:6.0f} MiB at the end")
        return lines

    def _refused_during(self, done: Done) -> Counter[str]:
        """Count the answers that were not 200 while a fault was done and healed."""
        return Counter(
            str(status)
            for asked in self.asked
            for when, status in asked.answers
            if done.began <= when <= done.whole and status != 200
        )

    def _is_excused(self, asked: Asked) -> bool:
        return any(
            done.fault.may_corrupt and asked.ended >= done.began and asked.began <= done.whole for done in self.done
        )

    def _fault_at(self, asked: Asked) -> str:
        """Return the name of the last fault that began before a request ended."""
        return next((done.fault.name for done in reversed(self.done) if done.began <= asked.ended), "the start")

    def _by_fault(self) -> dict[str, list[Done]]:
        found: dict[str, list[Done]] = {}
        for done in self.done:
            found.setdefault(done.fault.name, []).append(done)
        return found
