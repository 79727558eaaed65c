"""Interface of the application that answers the requests of the HTTP server."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from ingrain.errors import IngrainError
from ingrain.server.http.message import Request, Response


class Started(enum.Enum):
    """How the response follows if ``Exchange.start`` does not return it."""

    WILL_BE_DELIVERED = enum.auto()
    NEEDS_A_TASK = enum.auto()


@dataclass(frozen=True, slots=True)
class BodyLimit:
    """Limit of a request body.

    Attributes:
        max_bytes: The limit.
        setting: The setting that determines it, for error messages.
    """

    max_bytes: int
    setting: str


class Exchange(Protocol):
    """A request that the application has accepted.

    The server calls one of ``start``, ``refuse`` and ``abandon``. After ``start``, the request ends with a response or
    with ``abandon``.
    """

    @property
    def body_limit(self) -> BodyLimit:
        """Limit of the request's body."""
        ...

    def start(self, deliver: Callable[[Response], None]) -> Response | Started:
        """Start answering the request, whose body is complete. Raises no exception.

        Args:
            deliver: Called once with the response if the result is ``WILL_BE_DELIVERED``; always after ``start`` has
                returned, and never for an abandoned request.

        Returns:
            The response, ``WILL_BE_DELIVERED``, or ``NEEDS_A_TASK`` if the server must await ``answer`` in a task.
        """
        ...

    async def answer(self) -> Response:
        """Answer the request. Cancelled when the client disconnects; raises no other exception."""
        ...

    def refuse(self, error: IngrainError) -> Response:
        """Return the error response for a request whose body is incomplete or too large."""
        ...

    def abandon(self) -> None:
        """Cancel the request, because its client has disconnected."""
        ...


class Application(Protocol):
    """Answers requests."""

    def admit(self, request: Request) -> Response | Mapping[str, str]:
        """Check a request head. Called once for each distinct head, as the server caches heads that are admitted.

        Returns:
            An error response, or headers to add to the response.
        """
        ...

    def begin(self, request: Request) -> Exchange | Response:
        """Accept a request by its head, before its body is read, or return an error response."""
        ...

    def refuse(self, error: IngrainError) -> Response:
        """Return the error response for bytes that are not a valid request."""
        ...
