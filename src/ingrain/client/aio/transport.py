"""Sends requests on the caller's event loop, several of one call concurrently."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import httpx

from ingrain.client.after_fork import check_process, forget_after_fork
from ingrain.client.call import Call
from ingrain.client.failures import Failure, error_of_transport
from ingrain.client.options import Options
from ingrain.client.sending import pool_limits, read, retries_of, timeout_of, url_of, window_of
from ingrain.errors import ClientError
from ingrain.vocabulary import Plane

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _OfLoop:
    """Connections of one event loop; a connection works only on the loop that opened it."""

    slots: asyncio.Semaphore
    pools: dict[Plane, httpx.AsyncClient] = field(default_factory=dict)


class AsyncTransport:
    """Connections to both planes, separate for each event loop and process."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._answered: set[Plane] = set()
        self._is_closed = False
        self.forget()
        forget_after_fork(self)

    def __reduce__(self) -> tuple[type[AsyncTransport], tuple[Options]]:
        # A copy is open and makes its own connections.
        return type(self), (self._options,)

    def forget(self) -> None:
        """Drop all connections without closing them."""
        self._loops: dict[asyncio.AbstractEventLoop, _OfLoop] = {}

    async def aclose(self) -> None:
        """Close all connections of this event loop; requests in progress fail."""
        self._is_closed = True
        loops, self._loops = self._loops, {}
        ours = loops.get(asyncio.get_running_loop())
        for pool in ours.pools.values() if ours is not None else ():
            await pool.aclose()

    async def send(self, call: Call[T]) -> T:
        """Send a request, with retries.

        Raises:
            IngrainError: The request failed after all retries.
        """
        body = await _body_of(call)
        retries = retries_of(call, self._options)
        is_alone = False
        while True:
            outcome = await self._try(call, body, is_alone=is_alone)
            if not isinstance(outcome, Failure):
                return outcome
            is_alone = is_alone or outcome.was_anothers
            await asyncio.sleep(retries.pause_after(outcome, has_answered=call.plane in self._answered))

    async def each(self, calls: Iterable[Call[T]] | AsyncIterable[Call[T]]) -> AsyncGenerator[T]:
        """Send requests concurrently, and yield their results in order."""
        if isinstance(calls, AsyncIterable):
            feed = aiter(calls)
        else:
            at_hand = iter(calls)
            first = list(itertools.islice(at_hand, 2))
            if len(first) < 2:
                # A single request does not wait for the requests of other calls, which may be many.
                for call in first:
                    yield await self.send(call)
                return
            feed = _walk(itertools.chain(first, at_hand))
        waiting: deque[asyncio.Task[T]] = deque()
        coming: asyncio.Task[Call[T] | None] | None = None
        window, home, has_ended = window_of(self._options), os.getpid(), False
        try:
            while waiting or not has_ended:
                check_process(home)
                if coming is None and not has_ended:
                    coming = asyncio.create_task(_next(feed))
                if coming is not None:
                    # Yield a result that is there before the caller's generator delivers its next item.
                    await asyncio.wait({coming, *itertools.islice(waiting, 1)}, return_when=asyncio.FIRST_COMPLETED)
                    if coming.done():
                        next_call, coming = coming.result(), None
                        has_ended = next_call is None
                        if next_call is not None:
                            waiting.append(asyncio.create_task(self._send_in_turn(next_call)))
                while waiting and (waiting[0].done() or len(waiting) == window or has_ended):
                    check_process(home)
                    yield await waiting[0]
                    waiting.popleft()
        finally:
            # In a forked child these tasks belong to the parent's event loop.
            if os.getpid() == home:
                tasks = [*waiting, coming] if coming is not None else [*waiting]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _send_in_turn(self, call: Call[T]) -> T:
        async with self._of_loop().slots:
            return await self.send(call)

    async def _try(self, call: Call[T], body: bytes | None, *, is_alone: bool) -> T | Failure:
        """Send a request once; ``is_alone``: over a new connection."""
        pool = self._make_pool(call.plane) if is_alone else self._pool(call.plane)
        try:
            response = await pool.request(
                call.method,
                url_of(call, self._options),
                params=call.params,
                content=body,
                headers=call.headers(),
                timeout=timeout_of(call, self._options),
            )
        except httpx.HTTPError as error:
            return error_of_transport(call, self._options.planes[call.plane].url, error)
        finally:
            if is_alone:
                await pool.aclose()
        self._answered.add(call.plane)
        outcome = read(call, response, self._options, is_alone=is_alone)
        if isinstance(outcome, Failure) and outcome.was_anothers:
            await response.extensions["network_stream"].aclose()
        return outcome

    def _pool(self, plane: Plane) -> httpx.AsyncClient:
        pools = self._of_loop().pools
        if plane not in pools:
            pools[plane] = self._make_pool(plane)
        return pools[plane]

    def _make_pool(self, plane: Plane) -> httpx.AsyncClient:
        options = self._options.planes[plane]
        return httpx.AsyncClient(
            headers=dict(options.headers),
            verify=options.certificate_check(),
            trust_env=options.trust_env,
            limits=pool_limits(),
        )

    def _of_loop(self) -> _OfLoop:
        if self._is_closed:
            raise ClientError("The client is closed.")
        loop = asyncio.get_running_loop()
        if loop not in self._loops:
            for other in list(self._loops):
                if other.is_closed():
                    self._loops.pop(other, None)
            self._loops[loop] = _OfLoop(asyncio.Semaphore(self._options.concurrency))
        return self._loops[loop]


async def _walk(calls: Iterable[Call[T]]) -> AsyncIterator[Call[T]]:
    for call in calls:
        yield call


async def _next(feed: AsyncIterator[Call[T]]) -> Call[T] | None:
    async for call in feed:
        return call
    return None


async def _body_of(call: Call[object]) -> bytes | None:
    if call.body is None:
        return None
    return await asyncio.to_thread(call.body) if call.slow_body else call.body()
