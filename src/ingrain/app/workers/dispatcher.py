"""Accepts connections and passes each one to the worker with the fewest open connections."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Protocol

_AT_A_TIME = 64
_BACKLOG = 2048
_PAUSE_S = 0.05
_LONG_PAUSE_S = 1.0
# Sent with each connection: its address family, which would take the receiver three system calls to determine.
_FAMILIES = {socket.AF_INET: b"4", socket.AF_INET6: b"6"}
_FAMILY_OF = {data: family for family, data in _FAMILIES.items()}

log = logging.getLogger("ingrain.server")


class Taker(Protocol):
    """A worker that takes connections from the dispatcher."""

    @property
    def open_connections(self) -> int:
        """Number of connections that the worker got and has not closed."""
        ...

    def give(self, connection: socket.socket) -> bool:
        """Pass a connection to the worker; return False if it cannot take it now."""
        ...


class Dispatcher:
    """Accepts connections while a worker can serve them; other connections wait in the kernel's backlog.

    Args:
        listener: Listening, non-blocking socket.
        takers: Returns the workers that serve now.
    """

    def __init__(self, listener: socket.socket, takers: Callable[[], Sequence[Taker]]) -> None:
        self._listener = listener
        self._takers = takers
        self._loop = asyncio.get_running_loop()
        self._held: socket.socket | None = None
        self._is_accepting = False
        self._is_closed = False

    def wake(self) -> None:
        """Start to accept connections, if a worker can serve them."""
        if not self._is_closed and not self._is_accepting and self._takers():
            self._is_accepting = True
            self._loop.add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Pass on the connections that wait in the backlog, and close the listener."""
        if self._is_closed:
            return
        self._is_closed = True
        self._accept(_BACKLOG)
        self._pause()
        self._listener.close()
        if self._held is not None:
            self._held.close()

    def _accept(self, most: int = _AT_A_TIME) -> None:
        for _ in range(most):
            takers = self._takers()
            if not takers:
                self._pause()
                return
            try:
                connection = self._held or self._listener.accept()[0]
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.error("No connection can be accepted: %s", error.strerror)
                self._pause(_LONG_PAUSE_S)
                return
            if not _give(connection, takers):
                self._held = connection
                self._pause(_PAUSE_S)
                return
            self._held = None
            connection.close()

    def _pause(self, seconds: float | None = None) -> None:
        if self._is_accepting:
            self._is_accepting = False
            self._loop.remove_reader(self._listener)
        if seconds is not None:
            self._loop.call_later(seconds, self.wake)


def _give(connection: socket.socket, takers: Sequence[Taker]) -> bool:
    """Pass a connection to the worker with the fewest, or to another one if that worker cannot take it now."""
    best = min(takers, key=lambda taker: taker.open_connections)
    return best.give(connection) or any(taker.give(connection) for taker in takers if taker is not best)


class ConnectionSender:
    """Sends connections to a worker, over the main process's end of a socket pair."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._end = end
        self.sent = 0

    def send(self, connection: socket.socket) -> bool:
        """Send a connection; return False if the worker's socket is full or closed."""
        try:
            socket.send_fds(self._end, [_FAMILIES[connection.family]], [connection.fileno()])
        except OSError:
            return False
        self.sent += 1
        return True

    def close(self) -> None:
        """Close this end."""
        self._end.close()


class ConnectionReceiver:
    """Receives connections from the main process, over the worker's end of a socket pair.

    Args:
        end: Socket of type ``SOCK_SEQPACKET``; each message has one connection.
        take: Called with each connection.
        lose: Called for each connection that is lost because no file descriptor is free.
    """

    def __init__(self, end: socket.socket, take: Callable[[socket.socket], None], lose: Callable[[], None]) -> None:
        end.setblocking(False)
        self._end = end
        self._take = take
        self._lose = lose
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(end, self.receive)

    def receive(self) -> None:
        """Receive all connections that are waiting in the socket."""
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._end, 1, 1, socket.MSG_CMSG_CLOEXEC)
            except (BlockingIOError, InterruptedError):
                return
            if not data:
                self._loop.remove_reader(self._end)
                return
            if descriptors:
                self._take(socket.socket(_FAMILY_OF[data], socket.SOCK_STREAM, 0, fileno=descriptors[0]))
            else:
                log.error("A connection is lost: this process has reached its limit of open files (ulimit -n)")
                self._lose()

    def close(self) -> None:
        """Receive all waiting connections, then close this end."""
        self.receive()
        self._loop.remove_reader(self._end)
        self._end.close()
