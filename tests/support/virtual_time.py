"""An event loop whose clock jumps to the next timer, and an engine that takes its time on that clock."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import numpy as np

from parts import payloads_of

Result = TypeVar("Result")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs what is ready, and when nothing is, moves its clock to the next timer: hours pass in seconds."""

    def __init__(self) -> None:
        self._virtual_now = 0.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        return self._virtual_now

    def advance(self, seconds: float) -> None:
        self._virtual_now += seconds


class _Jumping(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list:
        assert timeout is not None, "everybody waits for ever"
        self._loop.advance(max(0.0, timeout))
        return super().select(0)


def run_virtually(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine on a virtual clock."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


class SlowEngine:
    """Runs batches of lengths on so many instances, in turn; a batch takes a fixed time and some for each token.

    Args:
        instances: Batches at the same time.
        call_s: Seconds of any batch.
        token_s: Seconds of a token, padding included.
        spread: Standard deviation of the logarithm of a batch's time.
    """

    def __init__(
        self, *, instances: int = 2, call_s: float = 0.003, token_s: float = 0.0006, spread: float = 0.05
    ) -> None:
        self.call_s = call_s
        self.token_s = token_s
        self.batches: list[list[int]] = []
        self._spread = spread
        self._numbers = random.Random(7)
        self._instances = asyncio.Semaphore(instances)

    async def run(self, parts: Sequence[tuple[Sequence[int], Sequence[int]]], *, alone: bool = False) -> np.ndarray:
        del alone
        lengths = payloads_of(parts)
        self.batches.append(lengths)
        async with self._instances:
            seconds = self.call_s + self.token_s * len(lengths) * max(lengths)
            await asyncio.sleep(seconds * self._numbers.lognormvariate(0, self._spread))
        return np.zeros((len(lengths), 1), np.float32)

    def items_per_s(self, batch: int, length: int, instances: int = 2) -> float:
        """What it can do at most with batches of this size."""
        return instances * batch / (self.call_s + self.token_s * batch * length)
