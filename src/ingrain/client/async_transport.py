"""Sends requests on the caller's event loop, several of one call side by side."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from typing import TypeVar

import httpx

from ingrain.api.routes import Plane
from ingrain.client.call import Call
from ingrain.client.failures import Failure, error_of_transport
from ingrain.client.options import Options
from ingrain.client.retry import Retries
from ingrain.client.sending import pool_limits, read, timeout_of, url_of, window_of
from ingrain.errors import ClientError

T = TypeVar("T")


class AsyncTransport:
    """Connections to both planes, for one event loop."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._pools: dict[Plane, httpx.AsyncClient] = {}
        self._answered: set[Plane] = set()
        self._is_closed = False
        self._slots = asyncio.Semaphore(options.concurrency)

    async def aclose(self) -> None:
        """Close all connections; what is on its way ends with an error."""
        self._is_closed = True
        pools, self._pools = self._pools, {}
        for pool in pools.values():
            await pool.aclose()

    async def send(self, call: Call[T]) -> T:
        """Send a request as often as it takes.

        Raises:
            IngrainError: It cannot be answered.
        """
        body = await _body_of(call)
        retries = Retries(self._options.retry, repeatable=call.repeatable)
        while True:
            outcome = await self._try(call, body)
            if not isinstance(outcome, Failure):
                return outcome
            await asyncio.sleep(retries.pause_after(outcome, has_answered=call.plane in self._answered))

    async def each(self, calls: Iterable[Call[T]]) -> AsyncGenerator[T]:
        """Send requests side by side, and yield their answers in order."""
        feed = iter(calls)
        first = list(itertools.islice(feed, 2))
        if len(first) < 2:
            # It waits for no other call: a single query is not to queue behind a long list.
            for call in first:
                yield await self.send(call)
            return
        waiting: deque[asyncio.Task[T]] = deque()
        try:
            for call in itertools.chain(first, feed):
                waiting.append(asyncio.create_task(self._send_in_turn(call)))
                await asyncio.sleep(0)  # walking through a long list must not keep the loop from sending
                while waiting and (waiting[0].done() or len(waiting) == window_of(self._options)):
                    yield await waiting[0]
                    waiting.popleft()
            while waiting:
                yield await waiting[0]
                waiting.popleft()
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def _send_in_turn(self, call: Call[T]) -> T:
        async with self._slots:
            return await self.send(call)

    async def _try(self, call: Call[T], body: bytes | None) -> T | Failure:
        try:
            response = await self._pool(call.plane).request(
                call.method,
                url_of(call, self._options),
                params=call.params,
                content=body,
                headers=call.headers(),
                timeout=timeout_of(call, self._options),
            )
        except httpx.HTTPError as error:
            return error_of_transport(call, self._options.planes[call.plane].url, error)
        self._answered.add(call.plane)
        return read(call, response)

    def _pool(self, plane: Plane) -> httpx.AsyncClient:
        if self._is_closed:
            raise ClientError("The client is closed.")
        if plane not in self._pools:
            options = self._options.planes[plane]
            self._pools[plane] = httpx.AsyncClient(
                headers=dict(options.headers),
                verify=options.verify,
                trust_env=options.trust_env,
                limits=pool_limits(),
            )
        return self._pools[plane]


async def _body_of(call: Call[object]) -> bytes | None:
    if call.body is None:
        return None
    return await asyncio.to_thread(call.body) if call.slow_body else call.body()
