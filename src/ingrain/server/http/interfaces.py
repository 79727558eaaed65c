"""What a connection and the server that accepts it need from each other."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from ingrain.server.http.application import Application
from ingrain.server.http.known_heads import KnownHeads


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """Limits of requests and connections.

    Attributes:
        max_header_bytes: Longest request line and headers together.
        max_body_bytes: Longest body.
        read_timeout_s: Seconds that a request may take to arrive, and that a caller may take to read a response.
        keep_alive_s: Seconds that an idle connection is kept.
    """

    max_header_bytes: int = 65_536
    max_body_bytes: int = 67_108_864
    read_timeout_s: float = 60.0
    keep_alive_s: float = 75.0


class HostedConnection(Protocol):
    """A connection, as its host sees it."""

    def sweep(self) -> None:
        """End the connection if its caller has been too slow; called about once a second."""
        ...

    def finish(self) -> None:
        """Close the connection now if it is idle, otherwise after the response."""
        ...

    def abort(self) -> None:
        """Close the connection now."""
        ...


class ConnectionHost(Protocol):
    """The host of connections: their application, limits and clock.

    Attributes:
        application: Answers the requests.
        limits: Limits of each connection.
        known_heads: Heads parsed before, shared by all connections.
        loop: The event loop.
        now: The loop's time, updated about once a second.
        date: ``now`` as the value of a ``Date`` header.
        is_closing: True while the host shuts down; connections then close after the response.
    """

    application: Application
    limits: HttpLimits
    known_heads: KnownHeads
    loop: asyncio.AbstractEventLoop
    now: float
    date: str
    is_closing: bool

    def add(self, connection: HostedConnection) -> None:
        """Register an open connection."""
        ...

    def forget(self, connection: HostedConnection) -> None:
        """Remove a connection that is closed."""
        ...
