"""A low-overhead channel for one unary gRPC method; it reconnects automatically.

The gRPC library passes each call through its own thread and a queue, which costs up to a tenth of a small batch's time
(docs/design/0006). This channel implements only what batches need.
"""

from __future__ import annotations

import asyncio
import socket
import time
import weakref
from collections.abc import Awaitable

from grpc import StatusCode

from ingrain.engine.triton.grpc_connection import CallError, GrpcConnection

_CONNECT_TIMEOUT_S = 5.0
# After a failed connection attempt calls fail without a new attempt for this long.
_PAUSE_S = 0.1
_UNIX = "unix:"
# Detects a host that disappeared: after about 30 s on an idle connection, after 10 s while data is unacknowledged.
_KEEPALIVE = (
    (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 20),
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 5),
    (socket.IPPROTO_TCP, "TCP_KEEPCNT", 2),
    (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", 10_000),
)


class UnaryChannel:
    """Calls one method of one server over a connection that is opened on demand.

    Args:
        target: ``host:port``, ``[address]:port``, or ``unix:`` and a path.
        path: The method, ``/package.Service/Method``.
    """

    def __init__(self, target: str, path: str) -> None:
        self._target = target
        self._path = path
        self._connection: GrpcConnection | None = None
        self._opening: asyncio.Task[GrpcConnection] | None = None
        self._all: weakref.WeakSet[GrpcConnection] = weakref.WeakSet()
        self._refused: tuple[float, CallError] | None = None
        self._is_closed = False

    async def call(self, message: bytes, *, timeout_s: float | None = None) -> bytes:
        """Send a serialized request and return the serialized response.

        Args:
            message: The request.
            timeout_s: Seconds to wait, including the connection attempt; None for no limit.

        Raises:
            CallError: The server returned an error, is gone, or did not respond in time.
        """
        connection = self._connection
        if connection is None:
            began = time.monotonic()
            connection = await self._open(timeout_s)
            if timeout_s is not None:
                timeout_s = max(0.0, timeout_s - (time.monotonic() - began))
        return await connection.call(message, timeout_s)

    async def close(self) -> None:
        """Cancel all calls; they fail with ``CANCELLED``."""
        self._is_closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        for connection in list(self._all):
            connection.close()

    async def _open(self, timeout_s: float | None) -> GrpcConnection:
        """Open the connection, or wait for an attempt in progress."""
        if self._is_closed:
            raise CallError(StatusCode.CANCELLED, "the channel was closed")
        if self._refused is not None and time.monotonic() < self._refused[0]:
            raise self._refused[1]
        if self._opening is None:
            self._opening = asyncio.create_task(self._connect())
            self._opening.add_done_callback(self._opened)
        done, _ = await asyncio.wait([self._opening], timeout=timeout_s)
        if not done:
            raise CallError(StatusCode.DEADLINE_EXCEEDED)
        opening = done.pop()
        if opening.cancelled():
            raise CallError(StatusCode.CANCELLED, "the channel was closed")
        return opening.result()

    def _opened(self, opening: asyncio.Task[GrpcConnection]) -> None:
        self._opening = None
        if not opening.cancelled() and isinstance(error := opening.exception(), CallError):
            self._refused = time.monotonic() + _PAUSE_S, error

    async def _connect(self) -> GrpcConnection:
        loop = asyncio.get_running_loop()
        opening: Awaitable[tuple[asyncio.Transport, GrpcConnection]]
        try:
            if self._target.startswith(_UNIX):
                path = self._target.removeprefix(_UNIX)
                opening = loop.create_unix_connection(lambda: self._protocol("localhost"), path)
            else:
                host, port = _host_and_port(self._target)
                opening = loop.create_connection(lambda: self._protocol(self._target), host, port)
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                transport, connection = await opening
        except (OSError, TimeoutError, ValueError) as error:
            raise CallError(StatusCode.UNAVAILABLE, f"cannot connect: {error}") from error
        if not self._target.startswith(_UNIX):
            _keep_alive(transport.get_extra_info("socket"))
        if connection.is_retired:
            raise CallError(StatusCode.UNAVAILABLE, "the server closed the connection immediately")
        self._connection = connection
        return connection

    def _protocol(self, authority: str) -> GrpcConnection:
        connection = GrpcConnection(authority, self._path, self._retire)
        self._all.add(connection)
        return connection

    def _retire(self, connection: GrpcConnection) -> None:
        if self._connection is connection:
            self._connection = None


def _host_and_port(target: str) -> tuple[str, int]:
    host, _, port = target.removeprefix("dns:").lstrip("/").rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _keep_alive(found: socket.socket) -> None:
    for level, name, value in _KEEPALIVE:
        if hasattr(socket, name):
            found.setsockopt(level, getattr(socket, name), value)
