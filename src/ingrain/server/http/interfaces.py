"""Defines the interfaces between the server and its connections, and the limits of both."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from ingrain.errors import IngrainError
from ingrain.server.http.application import Application
from ingrain.server.http.body_budget import BodyBudget
from ingrain.server.http.known_heads import KnownHeads


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """Limits of requests and connections.

    Attributes:
        max_header_bytes: Limit for request line and headers together.
        read_timeout_s: Timeout for receiving a request, and for a client that does not read its response.
        keep_alive_s: Timeout of an idle connection.
    """

    max_header_bytes: int = 65_536
    read_timeout_s: float = 60.0
    keep_alive_s: float = 75.0


class HostedConnection(Protocol):
    """Methods of a connection that its host calls."""

    def sweep(self) -> None:
        """Close the connection if a timeout has passed; called about once a second."""
        ...

    def finish(self) -> None:
        """Close an idle connection now, any other after its response."""
        ...

    def give_up(self, error: IngrainError) -> None:
        """Answer the request in progress with an error, and close after it."""
        ...

    def abort(self) -> None:
        """Close the connection now."""
        ...


class ConnectionHost(Protocol):
    """Members of the server that its connections use: application, limits, clock and shared cache.

    Attributes:
        application: Answers the requests.
        limits: Limits of each connection.
        bodies: Counts the bytes of all request bodies.
        known_heads: Cache of parsed request heads, shared by all connections.
        loop: The event loop.
        now: Time of the event loop, updated about once a second.
        date: Current value of the ``Date`` header.
        is_closing: True during shutdown; each connection then closes after its response.
    """

    application: Application
    limits: HttpLimits
    bodies: BodyBudget
    known_heads: KnownHeads
    loop: asyncio.AbstractEventLoop
    now: float
    date: str
    is_closing: bool

    def add(self, connection: HostedConnection) -> None:
        """Register an open connection."""
        ...

    def forget(self, connection: HostedConnection) -> None:
        """Remove a closed connection."""
        ...
