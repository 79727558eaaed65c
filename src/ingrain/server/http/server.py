"""Serves an application over HTTP, on a listening socket or on connections that another process accepted."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import logging
import socket
from collections.abc import Callable
from typing import Any

from ingrain.server.http.application import Application
from ingrain.server.http.body_budget import BodyBudget
from ingrain.server.http.connection import Connection
from ingrain.server.http.interfaces import HostedConnection, HttpLimits
from ingrain.server.http.known_heads import KnownHeads
from ingrain.server.http.refusals import shutting_down
from ingrain.server.http.tls import HANDSHAKE_TIMEOUT_S, SHUTDOWN_TIMEOUT_S, TlsCertificate

_BACKLOG = 2048
_LONGEST_TICK_S = 1.0
_LAST_REQUESTS_S = 0.5
_LAST_ANSWERS_S = 1.0

log = logging.getLogger("ingrain.server")


class HttpServer:
    """Accepts and serves connections until it is stopped. Implements ``ConnectionHost``.

    One timer checks the timeouts of all connections, so that a request needs no timer of its own.

    Args:
        application: Answers the requests.
        limits: Limits of each connection.
        bodies: Counts the bytes of the request bodies of all servers in this process.
        on_closed: Called after each connection that closes.
        tls: Certificate for TLS; plain HTTP if None.
    """

    def __init__(
        self,
        application: Application,
        limits: HttpLimits,
        bodies: BodyBudget,
        on_closed: Callable[[], None] | None = None,
        tls: TlsCertificate | None = None,
    ) -> None:
        self.application = application
        self.limits = limits
        self.bodies = bodies
        self.known_heads = KnownHeads()
        self.connections: set[HostedConnection] = set()
        self.is_closing = False
        self.loop = asyncio.get_running_loop()
        self.now = self.loop.time()
        self.date = email.utils.formatdate(usegmt=True)
        self._on_closed = on_closed
        self._tls = tls
        self._tls_arguments: dict[str, Any] = {}
        if tls is not None:
            self._tls_arguments = {
                "ssl": tls.context,
                "ssl_handshake_timeout": HANDSHAKE_TIMEOUT_S,
                "ssl_shutdown_timeout": SHUTDOWN_TIMEOUT_S,
            }
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Server | None = None
        self._adopting: set[asyncio.Task[None]] = set()
        self._ticking: asyncio.TimerHandle | None = None
        self._woken: asyncio.Future[None] | None = None
        self._is_hurried = False

    async def start(self, listener: socket.socket | None) -> None:
        """Accept connections on a bound socket. With None, serve only connections passed to ``adopt``."""
        if listener is not None:
            self._listener = listener
            self._accepting = await self.loop.create_server(
                lambda: Connection(self), sock=listener, backlog=_BACKLOG, **self._tls_arguments
            )
        self._tick()

    def adopt(self, accepted: socket.socket) -> None:
        """Serve a connection that another process has accepted."""
        task = self.loop.create_task(self._adopt(accepted))
        self._adopting.add(task)
        task.add_done_callback(self._adopting.discard)

    async def stop(self, grace_s: float) -> None:
        """Stop accepting, wait at most ``grace_s`` seconds for requests in progress, then close all connections.

        Connections that wait to be accepted are served. A connection without a request gets a moment for a last one,
        which may be on its way. A request that is still in progress in the end is answered with 503.
        """
        self.is_closing = True
        deadline = self.loop.time() + grace_s
        self._accept_waiting()
        if self._accepting is not None:
            self._accepting.close()
        if self._tls is not None:
            for task in self._adopting:
                task.cancel()  # a TLS handshake may take longer than grace_s, and carries no request yet
        await asyncio.gather(*self._adopting, return_exceptions=True)
        await self._wait_until_closed(min(_LAST_REQUESTS_S, grace_s))
        for connection in list(self.connections):
            connection.finish()
        await self._wait_until_closed(deadline - self.loop.time())
        for connection in list(self.connections):
            connection.give_up(shutting_down())
        self._is_hurried = False
        await self._wait_until_closed(_LAST_ANSWERS_S)
        for connection in list(self.connections):
            connection.abort()
        if self._ticking is not None:
            self._ticking.cancel()

    def hurry(self) -> None:
        """Have ``stop`` wait no longer for requests in progress."""
        self._is_hurried = True
        self._wake()

    def add(self, connection: HostedConnection) -> None:
        """Register an open connection."""
        self.connections.add(connection)

    def forget(self, connection: HostedConnection) -> None:
        """Remove a closed connection."""
        self.connections.discard(connection)
        if self._on_closed is not None:
            self._on_closed()
        if not self.connections:
            self._wake()

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    def _accept_waiting(self) -> None:
        """Adopt the connections in the kernel's queue, which closing the listener would reset."""
        if self._listener is None:
            return
        for _ in range(_BACKLOG):
            try:
                accepted, _address = self._listener.accept()
            except OSError:  # usually BlockingIOError: the queue is empty
                return
            accepted.setblocking(False)
            self.adopt(accepted)

    async def _adopt(self, accepted: socket.socket) -> None:
        try:
            await self.loop.connect_accepted_socket(lambda: Connection(self), accepted, **self._tls_arguments)
        except (OSError, asyncio.CancelledError):  # the client has disconnected, or does not speak TLS
            accepted.close()
            if self._on_closed is not None:
                self._on_closed()

    async def _wait_until_closed(self, seconds: float) -> None:
        """Wait until there are no connections, at most so many seconds and only until ``hurry`` is called."""
        if not self.connections or self._is_hurried:
            return
        self._woken = self.loop.create_future()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken

    def _tick(self) -> None:
        pause_s = min(_LONGEST_TICK_S, self.limits.read_timeout_s / 4, self.limits.keep_alive_s / 4)
        self._ticking = self.loop.call_later(pause_s, self._tick)
        self.now = self.loop.time()
        self.date = email.utils.formatdate(usegmt=True)
        if self._tls is not None:
            self._tls.reload_if_changed()
        for connection in list(self.connections):
            try:
                connection.sweep()
            except Exception:  # an error in one connection must not stop the timer of the others
                log.exception("Checking the timeouts of a connection failed")
                connection.abort()
