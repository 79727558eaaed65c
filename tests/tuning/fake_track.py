"""A graph whose speed is a function of how it is executed, on a clock that only its own work moves."""

from __future__ import annotations

from collections.abc import Callable

from ingrain.repository.tuning import Execution, Layout

LOAD_S = 2.0
PASS_S = 0.5


class FakeTrack:
    """Answers with the speed that a function has, times what the noise says, and notes what it was told to do."""

    def __init__(self, speed: Callable[[Execution], float], noise: Callable[[int], float] = lambda _: 1.0) -> None:
        self.speed, self.noise = speed, noise
        self.layout: Layout | None = None
        self.loads: list[Layout] = []
        self.passes: list[Execution] = []
        self.served_in: list[Layout | None] = []
        self.now = 0.0
        self.alike: set[int] = set()
        self.overhead = 0

    def clock(self) -> float:
        return self.now

    async def lay_out(self, layout: Layout) -> bool:
        if layout == self.layout:
            return False
        self.layout = layout
        self.loads.append(layout)
        self.now += LOAD_S
        return True

    async def serve(self) -> None:
        self.served_in.append(self.layout)

    async def is_alike(self, one: Execution, other: Execution) -> bool:
        return one.max_tokens == other.max_tokens and other.max_items in self.alike

    async def overhead_tokens(self, execution: Execution) -> int:
        assert execution.layout == self.layout
        return self.overhead

    async def run(self, execution: Execution) -> float:
        assert execution.layout == self.layout
        self.passes.append(execution)
        self.now += PASS_S
        return self.speed(execution) * self.noise(len(self.passes))
