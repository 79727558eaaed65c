"""The interface of an application that the HTTP server passes requests to."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol

from ingrain.errors import IngrainError
from ingrain.server.http.message import Request, Response


class Started(enum.Enum):
    """How a request will be answered that could not be answered at once."""

    WILL_BE_DELIVERED = enum.auto()
    NEEDS_A_TASK = enum.auto()


class Exchange(Protocol):
    """One request that was let in, until its response is known.

    It is started, refused or abandoned. Once started, it is delivered, abandoned or answered by a task.
    """

    def start(self, deliver: Callable[[Response], None]) -> Response | Started:
        """Start answering the request, whose body is complete. Raises nothing.

        Args:
            deliver: If this returns ``WILL_BE_DELIVERED``, called once with the response, later than this returns and
                unless the request is abandoned.

        Returns:
            The response, ``WILL_BE_DELIVERED``, or ``NEEDS_A_TASK`` if ``answer`` must be awaited.
        """
        ...

    async def answer(self) -> Response:
        """Answer the request, whose body is complete. Cancelled when the caller disconnects; raises nothing else."""
        ...

    def refuse(self, error: IngrainError) -> Response:
        """Answer a request whose body did not come or was too large."""
        ...

    def abandon(self) -> None:
        """Cancel a request whose caller has disconnected."""
        ...


class Application(Protocol):
    """Answers requests."""

    def begin(self, request: Request) -> Exchange | Response:
        """Let in a request whose head is parsed and whose body is not, or answer it at once."""
        ...

    def refuse(self, error: IngrainError) -> Response:
        """Answer bytes that are no valid request."""
        ...
