"""Runs graphs on a Triton that another process of this server owns."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from ingrain.engine.embedded.process_tree import Children
from ingrain.engine.protocol import Array, Arrays, GraphStatistics
from ingrain.engine.triton.address import EngineAddress
from ingrain.engine.triton.engine import TritonEngine
from ingrain.errors import EngineUnavailableError

_RETRY_AFTER_S = 3.0


class AttachedEngine:
    """Runs graphs on the Triton at the last attached address.

    Args:
        instances: How many batches of one graph that Triton runs at the same time.
        statistics: Gets Triton's statistics from the owning process, which excludes warm-up batches.
    """

    def __init__(self, *, instances: int, statistics: Callable[[], Awaitable[list[GraphStatistics]]]) -> None:
        self.instances = instances
        self._statistics = statistics
        self._address: EngineAddress | None = None
        self._triton: TritonEngine | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def attach(self, address: EngineAddress | None) -> None:
        """Use the Triton at this address from now on, without waiting for the connection; None for no Triton."""
        if address == self._address:
            return
        self._leave()
        self._address = address
        if address is not None:
            stubs = Children(address.pid) if address.pid is not None else None
            self._triton = TritonEngine(
                address.target,
                backend=address.backend,
                instances=self.instances,
                watch_interval_s=0,  # the owner monitors Triton and sends its new address
                has_faulty_stubs=lambda: stubs is not None and bool(stubs.faults()),
            )
            self._triton.connect()

    async def close(self) -> None:
        """Disconnect; later calls raise ``EngineUnavailableError``."""
        self._leave()
        self._address = None
        await asyncio.gather(*self._closing)

    async def live(self) -> bool:
        """Return whether Triton responds."""
        return self._triton is not None and await self._triton.live()

    async def infer(
        self,
        name: str,
        inputs: Arrays,
        *,
        timeout_s: float | None = None,
        alone: bool = False,
        outputs: Sequence[str] | None = None,
    ) -> dict[str, Array]:
        """Run one batch; see ``GraphRunner.infer``. The returned arrays are read-only."""
        if self._triton is None:
            raise EngineUnavailableError("the engine is being restarted", retry_after_s=_RETRY_AFTER_S)
        return await self._triton.infer(name, inputs, timeout_s=timeout_s, alone=alone, outputs=outputs)

    async def statistics(self) -> list[GraphStatistics]:
        """Return Triton's statistics of each loaded graph, from the process that owns it.

        Raises:
            EngineUnavailableError: Triton is being restarted.
        """
        return await self._statistics()

    def _leave(self) -> None:
        triton, self._triton = self._triton, None
        if triton is not None:
            task = asyncio.create_task(triton.close(), name="leave triton")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
