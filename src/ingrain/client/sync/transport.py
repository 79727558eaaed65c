"""Sends a single request from the caller's thread, and several requests of one call from a thread pool."""

from __future__ import annotations

import itertools
import os
import threading
from collections import deque
from collections.abc import AsyncIterable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import httpx

from ingrain.client.after_fork import check_process, forget_after_fork
from ingrain.client.call import Call
from ingrain.client.failures import Failure, error_of_transport
from ingrain.client.options import Options
from ingrain.client.sending import pool_limits, read, retries_of, timeout_of, url_of, window_of
from ingrain.errors import ClientError, InvalidRequestError
from ingrain.vocabulary import Plane

T = TypeVar("T")


class SyncTransport:
    """Connections to both planes; safe to use from several threads, and from processes forked meanwhile."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._answered: set[Plane] = set()
        self._is_closed = False
        self.forget()
        forget_after_fork(self)

    def __reduce__(self) -> tuple[type[SyncTransport], tuple[Options]]:
        # A copy is open and makes its own connections.
        return type(self), (self._options,)

    def forget(self) -> None:
        """Drop all connections and threads without closing them."""
        self._lock = threading.Lock()
        self._pools: dict[Plane, httpx.Client] = {}
        self._threads: ThreadPoolExecutor | None = None

    def close(self) -> None:
        """Close all connections; requests in progress fail."""
        with self._lock:
            self._is_closed = True
            pools, self._pools = self._pools, {}
            threads, self._threads = self._threads, None
        for pool in pools.values():
            pool.close()
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)

    def send(self, call: Call[T], given_up: threading.Event | None = None) -> T:
        """Send a request, with retries.

        Args:
            call: The request.
            given_up: Set when the caller no longer waits for the response.

        Raises:
            IngrainError: The request failed after all retries.
        """
        given_up = given_up or threading.Event()
        body = call.body() if call.body is not None else None
        retries = retries_of(call, self._options)
        is_alone = False
        while True:
            outcome = self._try(call, body, is_alone=is_alone)
            if not isinstance(outcome, Failure):
                return outcome
            is_alone = is_alone or outcome.was_anothers
            pause = retries.pause_after(outcome, has_answered=call.plane in self._answered)
            if given_up.wait(pause):
                raise ClientError("The call was cancelled.")

    def each(self, calls: Iterable[Call[T]] | AsyncIterable[Call[T]]) -> Generator[T]:
        """Send requests concurrently, and yield their results in order.

        Raises:
            InvalidRequestError: The items come from an asynchronous generator, which needs an event loop.
        """
        if isinstance(calls, AsyncIterable):
            raise InvalidRequestError("An asynchronous generator needs ingrain.AsyncClient.")
        feed = iter(calls)
        first = list(itertools.islice(feed, 2))
        if len(first) < 2:
            # A single request does not wait for the requests of other calls, which may be many.
            for call in first:
                yield self.send(call)
            return
        given_up, waiting, home = threading.Event(), deque[Future[T]](), os.getpid()
        try:
            for call in itertools.chain(first, feed):
                check_process(home)
                waiting.append(self._executor().submit(self.send, call, given_up))
                while waiting and (waiting[0].done() or len(waiting) == window_of(self._options)):
                    check_process(home)
                    yield waiting.popleft().result()
            while waiting:
                check_process(home)
                yield waiting.popleft().result()
        finally:
            # A forked child has no worker threads, and its copies of their locks may be held for ever.
            if os.getpid() == home:
                given_up.set()
                for future in waiting:
                    future.cancel()

    def _try(self, call: Call[T], body: bytes | None, *, is_alone: bool) -> T | Failure:
        """Send a request once; ``is_alone``: over a new connection."""
        pool = self._make_pool(call.plane) if is_alone else self._pool(call.plane)
        try:
            response = pool.request(
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
                pool.close()
        self._answered.add(call.plane)
        outcome = read(call, response, self._options, is_alone=is_alone)
        if isinstance(outcome, Failure) and outcome.was_anothers:
            response.extensions["network_stream"].close()
        return outcome

    def _pool(self, plane: Plane) -> httpx.Client:
        with self._lock:
            if self._is_closed:
                raise ClientError("The client is closed.")
            if plane not in self._pools:
                self._pools[plane] = self._make_pool(plane)
            return self._pools[plane]

    def _make_pool(self, plane: Plane) -> httpx.Client:
        options = self._options.planes[plane]
        return httpx.Client(
            headers=dict(options.headers),
            verify=options.certificate_check(),
            trust_env=options.trust_env,
            limits=pool_limits(),
        )

    def _executor(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._is_closed:
                raise ClientError("The client is closed.")
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self._options.concurrency, thread_name_prefix="ingrain-client")
            return self._threads
