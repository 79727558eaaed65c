"""What the HTTP server asks of the application behind it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol

from ingrain.errors import IngrainError
from ingrain.server.http.message import Request, Response


class Started(enum.Enum):
    """How far a request is that could not be answered at once."""

    WILL_BE_DELIVERED = enum.auto()
    NEEDS_A_TASK = enum.auto()


class Exchange(Protocol):
    """One request that was let in, until its answer is known.

    It is started, refused or abandoned; one that was started is then delivered, abandoned, or answered by a task.
    """

    def start(self, deliver: Callable[[Response], None]) -> Response | Started:
        """Begin to answer the request, whose body is whole now, and raise nothing.

        Args:
            deliver: Is called once with the answer, never before this returns, where this returns
                ``WILL_BE_DELIVERED``; not at all where the request is abandoned.

        Returns:
            The answer itself; or how it comes: ``NEEDS_A_TASK`` says that ``answer`` must be awaited.
        """
        ...

    async def answer(self) -> Response:
        """Answer the request, whose body is whole now; cancelled when the caller goes away, and raises nothing else."""
        ...

    def refuse(self, error: IngrainError) -> Response:
        """Answer a request whose body never came, or was too large."""
        ...

    def abandon(self) -> None:
        """Forget a request whose caller went away, and what is computed for it."""
        ...


class Application(Protocol):
    """Answers requests."""

    def begin(self, request: Request) -> Exchange | Response:
        """Let a request in whose headers are known and whose body is not, or answer it at once."""
        ...

    def refuse(self, error: IngrainError) -> Response:
        """Answer bytes that are no request."""
        ...
