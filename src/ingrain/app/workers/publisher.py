"""Sends the server's state to the workers, and tracks which workers have applied it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from ingrain.app.workers.messages import Applied, Follow
from ingrain.app.workers.wait_for import Pulse
from ingrain.app.workers.worker_process import WorkerProcess
from ingrain.errors import EngineUnavailableError

_OPEN_WAIT_S = 10.0
_RETRY_AFTER_S = 5.0

Describe = Callable[[], Follow]
"""Returns the server's current state, without ``version`` and ``everywhere``."""


class Publisher:
    """Sends the complete state after each change, so that a worker cannot miss a change.

    Args:
        describe: Returns the current state.
        workers: Returns all running workers, up or not.
        pulse: Wakes waiting tasks when a worker's state has changed.
    """

    def __init__(self, describe: Describe, workers: Callable[[], Sequence[WorkerProcess]], pulse: Pulse) -> None:
        self._describe = describe
        self._workers = workers
        self._pulse = pulse
        self._latest = msgspec.structs.replace(describe(), version=1)
        self._opened_in: dict[int, int] = {}

    def up(self) -> list[WorkerProcess]:
        """Return the workers that are up."""
        return [worker for worker in self._workers() if worker.is_up]

    def publish(self) -> int:
        """Send the state if it has changed; return its version."""
        state = self._describe()
        version = self._latest.version
        # A newly opened model is a change, so that the next version is the first with this model.
        opened = [model.number for model in state.view.models if model.is_open]
        self._opened_in = {number: self._opened_in.get(number, version + 1) for number in opened}
        state = msgspec.structs.replace(state, version=version, everywhere=self._everywhere())
        if state != self._latest:
            self._latest = msgspec.structs.replace(state, version=version + 1)
            for worker in self._workers():
                self.tell(worker)
        return self._latest.version

    def tell(self, worker: WorkerProcess) -> None:
        """Send the state to one worker."""
        worker.channel.send(self._latest)

    def applied(self, worker: WorkerProcess, message: Applied) -> None:
        """Record the version that a worker has applied; mark a new worker as up once it has all models open.

        A worker that cannot open a model serves the others: at once if no other worker is up, else after a while.
        """
        worker.applied, worker.missing, worker.leaving = message.version, message.missing, message.leaving
        now = asyncio.get_running_loop().time()
        if worker.first_applied_at is None:
            worker.first_applied_at = now
        has_tried = now - worker.first_applied_at >= _OPEN_WAIT_S
        if message.version == self._latest.version and (not message.missing or has_tried or not self.up()):
            worker.is_up = True
        self._pulse.beat()
        self.publish()

    async def settle(self, number: int | None = None) -> None:
        """Wait until every worker that is up has applied the current state.

        This always ends, because a worker that hangs is killed.

        Args:
            number: Number of a model that each worker must have open; or if it is not loaded, whose requests each must
                have answered.

        Raises:
            EngineUnavailableError: A worker could not open that model.
        """
        # The second round publishes the updated `everywhere`.
        for _ in range(2):
            await self._applied_by_all(self.publish())
        if number is not None and number in self._opened_in:
            await self._open_in_all(number)
        elif number is not None:
            await self._pulse.until(lambda: all(number not in worker.leaving for worker in self._workers()))

    async def _applied_by_all(self, version: int) -> None:
        await self._pulse.until(lambda: all(worker.applied >= version for worker in self.up()))

    async def _open_in_all(self, number: int) -> None:
        opening = self._pulse.until(lambda: all(number not in worker.missing for worker in self.up()))
        try:
            async with asyncio.timeout(_OPEN_WAIT_S):
                await opening
        except TimeoutError:
            raise EngineUnavailableError(
                "The model is loaded, but some workers could not open it yet; they keep trying.",
                retry_after_s=_RETRY_AFTER_S,
            ) from None

    def _everywhere(self) -> frozenset[int]:
        up = self.up()
        return frozenset(
            number
            for number, version in self._opened_in.items()
            if up and all(worker.applied >= version and number not in worker.missing for worker in up)
        )
