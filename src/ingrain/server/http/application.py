"""What the HTTP server asks of the application behind it."""

from __future__ import annotations

from typing import Protocol

from ingrain.errors import IngrainError
from ingrain.server.http.message import Request, Response


class Exchange(Protocol):
    """One request that was let in, until its answer is known. Exactly one of the three methods is called, once."""

    async def answer(self) -> Response:
        """Answer the request, whose body is whole now; cancelled when the caller goes away, and raises nothing else."""
        ...

    def refuse(self, error: IngrainError) -> Response:
        """Answer a request whose body never came, or was too large."""
        ...

    def abandon(self) -> None:
        """Forget a request whose caller went away."""
        ...


class Application(Protocol):
    """Answers requests."""

    def begin(self, request: Request) -> Exchange | Response:
        """Let a request in whose headers are known and whose body is not, or answer it at once."""
        ...

    def refuse(self, error: IngrainError) -> Response:
        """Answer bytes that are no request."""
        ...
