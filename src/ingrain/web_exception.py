"""The base class of errors in the first generation of clients, which their programs catch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class IngrainWebException(Exception):  # noqa: N818 - the name in the first generation of clients
    """Base of all errors, with the arguments and attributes that it had in the first generation of clients."""

    def __init__(self, text: str, status_code: int, body: Mapping[str, Any]) -> None:
        super().__init__(text, status_code, body)
        self.message = f"Error: {text}. \nStatus Code: {status_code}. \nOriginal Response Body: {body}"

    def __str__(self) -> str:
        return self.message

    @property
    def text(self) -> str:
        """Message of the response."""
        return self.args[0]  # type: ignore[no-any-return]

    @property
    def status_code(self) -> int | None:
        """HTTP status of the response; None for an error of the client."""
        return self.args[1]  # type: ignore[no-any-return]

    @property
    def body(self) -> Mapping[str, Any]:
        """JSON of the response."""
        return self.args[2]  # type: ignore[no-any-return]
