"""Tunes one graph: measures layouts, then limits and padding of a batch, then compares the best with the default."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from statistics import median
from typing import Protocol

import msgspec

from ingrain.repository.tuning import Execution, GraphTuning, Layout, Point
from ingrain.tuning.candidates import Candidates
from ingrain.tuning.choice import is_faster, is_faster_for_certain, ratio
from ingrain.vocabulary import Role, TuningStep

_ROUNDS = 2
_CHECK_ROUNDS = 3
# Share of the time budget after which a step starts no more measurements; the final check always runs.
_LAYOUTS_UNTIL, _BATCHES_UNTIL = 0.5, 0.8
_SECOND_CHECK_UNTIL = 2.0

PASSES_A_SWEEP = 30
"""Approximate number of passes in a sweep; it determines the time of one pass."""

Tell = Callable[[int, int], None]
"""Called with the number of finished measurements, and the total number."""


class Track(Protocol):
    """One graph on its engine, which a sweep measures."""

    def lay_out(self, layout: Layout) -> Awaitable[bool]:
        """Load the graph in this layout; return whether it was reloaded."""
        ...

    def serve(self) -> Awaitable[None]:
        """Let requests use the graph again, because its layout stays the same for a while."""

    async def is_alike(self, one: Execution, other: Execution) -> bool:
        """Return whether both produce the same batches, so that any difference is noise."""
        ...

    async def overhead_tokens(self, execution: Execution) -> int:
        """Measure the execution's ``overhead_tokens`` in the current layout; 0 if the graph takes no texts."""
        ...

    async def run(self, execution: Execution) -> float:
        """Run one pass in the current layout, and return items per second."""
        ...


class Sweep:
    """Finds the fastest execution of one graph.

    Args:
        track: Runs the graph.
        role: Role of the graph.
        default: Execution without a tuning.
        candidates: Values to try besides the default.
        seconds: Time budget; a measurement in progress is finished.
        clock: Returns monotonic seconds.
        tell: Receives the progress.
    """

    def __init__(
        self,
        track: Track,
        role: Role,
        default: Execution,
        candidates: Candidates,
        *,
        seconds: float,
        clock: Callable[[], float],
        tell: Tell,
    ) -> None:
        self._track = track
        self._role = role
        self._default = default
        self._candidates = candidates
        self._seconds = seconds
        self._clock = clock
        self._tell = tell
        self._started = 0.0
        self._curve: list[Point] = []
        self._passes = 0
        self._most_passes = _ROUNDS * sum(
            1 + len(tried) for tried in (candidates.layouts, candidates.tokens, candidates.items) if tried
        )
        self._most_passes += 2 * _ROUNDS + 2 * _CHECK_ROUNDS

    async def run(self) -> GraphTuning:
        """Measure, and return the choice; the graph keeps the layout that was measured last."""
        self._started = self._clock()
        best = await self._best_layout()
        await self._lay_out(best.layout)
        await self._track.serve()
        tokens = [msgspec.structs.replace(best, max_tokens=size) for size in self._candidates.tokens]
        best = await self._best_batch("tokens", best, tokens)
        items = [msgspec.structs.replace(best, max_items=size) for size in self._candidates.items]
        best = await self._best_batch("items", best, items)
        best = await self._best_padding(best)
        chosen, gain = await self._check(best)
        alike = msgspec.structs.replace(best, layout=self._default.layout)
        if chosen == self._default and best.layout != alike.layout and not self._is_over(_SECOND_CHECK_UNTIL):
            # The new layout was not faster after all; the new batch limits alone may still be.
            chosen, gain = await self._check(alike)
        self._tell(self._most_passes, self._most_passes)
        return GraphTuning(role=self._role, default=self._default, chosen=chosen, ratio=gain, curve=tuple(self._curve))

    async def _best_layout(self) -> Execution:
        """Measure each layout once, one after the other, because loading a graph takes longer than measuring it."""
        if not self._candidates.layouts:
            return self._default
        await self._lay_out(self._default.layout)
        defaults = [await self._run(self._default) for _ in range(_ROUNDS)]
        self._note("layout", self._default, defaults, defaults)
        best, best_rates = self._default, defaults
        for number, layout in enumerate(self._candidates.layouts):
            if number and self._is_over(_LAYOUTS_UNTIL):
                break  # the most promising one is always tried
            execution = msgspec.structs.replace(self._default, layout=layout)
            await self._lay_out(layout)
            rates = [await self._run(execution) for _ in range(_ROUNDS)]
            self._note("layout", execution, rates, defaults)
            if is_faster(rates, defaults) and median(rates) > median(best_rates):
                best, best_rates = execution, rates
        return best

    async def _best_batch(self, step: TuningStep, base: Execution, tried: Sequence[Execution]) -> Execution:
        """Measure batch limits in rounds, alternating with the best execution so far."""
        if self._is_over(_BATCHES_UNTIL):
            return base
        executions = [base, *[one for one in tried if not await self._track.is_alike(base, one)]]
        if len(executions) == 1:
            return base
        rates: list[list[float]] = [[] for _ in executions]
        for number in range(_ROUNDS):
            if number and self._is_over(_BATCHES_UNTIL):
                break
            for execution, measured in zip(executions, rates, strict=True):
                measured.append(await self._run(execution))
        for execution, measured in zip(executions, rates, strict=True):
            self._note(step, execution, measured, rates[0])
        fastest = max(range(len(executions)), key=lambda index: median(rates[index]))
        return executions[fastest] if is_faster_for_certain(rates[fastest], rates[0]) else base

    async def _best_padding(self, base: Execution) -> Execution:
        """Measure the overhead of a batch, and whether padding that it justifies makes batches faster."""
        if self._is_over(_BATCHES_UNTIL) or not (tokens := await self._track.overhead_tokens(base)):
            return base
        return await self._best_batch("padding", base, [msgspec.structs.replace(base, overhead_tokens=tokens)])

    async def _check(self, best: Execution) -> tuple[Execution, float]:
        """Compare the best execution with the default in alternation; return the choice and its speed-up."""
        if best == self._default:
            return self._default, 1.0
        rates: dict[Execution, list[float]] = {best: [], self._default: []}
        order = [best, self._default]
        for _ in range(_CHECK_ROUNDS):
            for execution in order:
                await self._lay_out(execution.layout)
                rates[execution].append(await self._run(execution))
            order.reverse()  # each layout is loaded once per round, and neither always runs first
        self._note("check", self._default, rates[self._default], rates[self._default])
        self._note("check", best, rates[best], rates[self._default])
        if is_faster_for_certain(rates[best], rates[self._default]):
            return best, round(ratio(rates[best], rates[self._default]), 4)
        return self._default, 1.0

    async def _lay_out(self, layout: Layout) -> None:
        if await self._track.lay_out(layout):
            # Warm up: the first pass after a load allocates memory and selects kernels.
            await self._track.run(msgspec.structs.replace(self._default, layout=layout))

    async def _run(self, execution: Execution) -> float:
        rate = await self._track.run(execution)
        self._passes += 1
        self._tell(min(self._passes, self._most_passes), self._most_passes)
        return rate

    def _note(self, step: TuningStep, execution: Execution, rates: Sequence[float], others: Sequence[float]) -> None:
        point = Point(
            step=step,
            execution=execution,
            items_per_s=round(median(rates), 2),
            ratio=round(ratio(rates, others), 4),
        )
        self._curve.append(point)

    def _is_over(self, share: float) -> bool:
        return self._clock() - self._started > share * self._seconds
