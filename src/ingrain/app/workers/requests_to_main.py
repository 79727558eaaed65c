"""Sends a worker's questions to the main process, and matches the answers."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

from ingrain.app.workers.messages import (
    Answer,
    Ask,
    AskDemand,
    AskRefresh,
    AskStatistics,
    AskTotals,
    Channel,
    Demanded,
    EngineStatistics,
    Refreshed,
    Suspect,
    Totals,
    ToWorker,
    Withdraw,
)
from ingrain.engine.protocol import GraphStatistics
from ingrain.errors import EngineUnavailableError, IngrainError, error_class
from ingrain.server.plane.counts import Counts
from ingrain.vocabulary import Library

_SUSPECT_EVERY_S = 0.1
_RETRY_AFTER_S = 2.0
# The main process bounds its own calls of the engine; this is longer.
_ANSWER_WAIT_S = 15.0


class Questions:
    """Sends questions and waits for the answers with the same numbers.

    The worker exits when the main process is gone; a main process that hangs is waited for ``_ANSWER_WAIT_S`` seconds.
    """

    def __init__(self, channel: Channel[ToWorker]) -> None:
        self._channel = channel
        self._numbers = itertools.count(1)
        self._open: dict[int, asyncio.Future[Any]] = {}
        self._has_suspected = False

    async def refresh(self) -> bool:
        """Have the main process reread the list of models; return whether the list has changed.

        Raises:
            EngineUnavailableError: The main process does not answer.
        """
        answer: Refreshed = await self._ask(AskRefresh)
        return answer.changed

    async def totals(self) -> Counts:
        """Return the counts of all processes.

        Raises:
            EngineUnavailableError: The main process does not answer.
        """
        answer: Totals = await self._ask(AskTotals)
        return answer.counts

    async def statistics(self) -> list[GraphStatistics]:
        """Return the engine's statistics.

        Raises:
            EngineUnavailableError: The main process could not get them, or does not answer.
        """
        answer: EngineStatistics = await self._ask(AskStatistics)
        if answer.error is not None:
            raise EngineUnavailableError(answer.error, retry_after_s=_RETRY_AFTER_S)
        return answer.graphs

    async def demand(self, name: str, library: Library | None, pretrained: str | None) -> None:
        """Have the main process load a model of the repository; the caller bounds the wait.

        Raises:
            IngrainError: The error of the main process.
        """
        answer: Demanded = await self._ask(partial(AskDemand, name=name, library=library, pretrained=pretrained), None)
        if answer.error is not None:
            raise (error_class(answer.code) or IngrainError)(
                answer.error, param="name", retry_after_s=answer.retry_after_s
            )

    def suspect(self) -> None:
        """Have the registry check the engine; calls in quick succession send one message."""
        if not self._has_suspected:
            self._has_suspected = True
            self._channel.send(Suspect())
            asyncio.get_running_loop().call_later(_SUSPECT_EVERY_S, self._may_suspect)

    def answer(self, message: Answer) -> None:
        """Pass an answer to the task that waits for it."""
        future = self._open.pop(message.number, None)
        if future is not None and not future.done():
            future.set_result(message)

    async def _ask(self, question: Callable[[int], Ask], wait_s: float | None = _ANSWER_WAIT_S) -> Any:
        number = next(self._numbers)
        future = self._open[number] = asyncio.get_running_loop().create_future()
        try:
            self._channel.send(question(number))  # type: ignore[arg-type]  # a concrete subclass of Ask
            async with asyncio.timeout(wait_s):
                return await future
        except asyncio.CancelledError:  # the client has disconnected, or its deadline has passed
            self._channel.send(Withdraw(number))
            raise
        except TimeoutError:
            raise EngineUnavailableError(
                "The server's main process does not answer.", retry_after_s=_RETRY_AFTER_S
            ) from None
        finally:
            self._open.pop(number, None)

    def _may_suspect(self) -> None:
        self._has_suspected = False
