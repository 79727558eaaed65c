"""Sums the statistics of several Tritons, so that the sums do not fall when one is lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ingrain.engine.protocol import GraphStatistics
from ingrain.engine.statistics import plus


class Sums:
    """The statistics of each graph by Triton, and what lost or restarted Tritons have counted.

    What a Triton counts between the last look and its end is lost.
    """

    def __init__(self) -> None:
        self._last: dict[str, dict[str, GraphStatistics]] = {}
        self._before: dict[str, GraphStatistics] = {}

    def add(self, answers: Mapping[str, Sequence[GraphStatistics]]) -> None:
        """Record what Tritons answer, by address."""
        for address, graphs in answers.items():
            last = self._last.setdefault(address, {})
            for now in graphs:
                was = last.get(now.name)
                if was is not None and now.inference_count < was.inference_count:  # it has restarted
                    self._keep(was)
                last[now.name] = now

    def of(self, loaded: Iterable[str]) -> list[GraphStatistics]:
        """Return the sums of these graphs, as far as they were told."""
        sums: list[GraphStatistics] = []
        for name in loaded:
            parts = [graphs[name] for graphs in self._last.values() if name in graphs]
            if name in self._before:
                parts.append(self._before[name])
            if parts:
                total = parts[0]
                for part in parts[1:]:
                    total = plus(total, part)
                sums.append(total)
        return sums

    def forget(self, name: str) -> None:
        """Forget a graph that is unloaded."""
        self._before.pop(name, None)
        for graphs in self._last.values():
            graphs.pop(name, None)

    def leave(self, address: str) -> None:
        """Keep what a Triton has counted that is gone for ever."""
        for was in self._last.pop(address, {}).values():
            self._keep(was)

    def _keep(self, was: GraphStatistics) -> None:
        before = self._before.get(was.name)
        self._before[was.name] = was if before is None else plus(before, was)
