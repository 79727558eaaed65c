"""One request as data, and one answer as it came."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ingrain.errors import InvalidRequestError
from ingrain.vocabulary import Plane

# What the server keeps of 128 characters (`server/endpoint.py`), and room for the number of a request of many.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}")

T_co = TypeVar("T_co", covariant=True)


def new_request_id() -> str:
    """Return a word that tells one request from all others in the server's log."""
    return uuid.uuid4().hex


def checked_request_id(given: str | None) -> str:
    """Return the caller's own id where it gave one, else a new one.

    Raises:
        InvalidRequestError: The server would put another in its place, and its answer could not be told from others.
    """
    if given is None:
        return new_request_id()
    if not (isinstance(given, str) and _REQUEST_ID.fullmatch(given)):
        raise InvalidRequestError(
            f"request_id is {given!r}; it must be 1 to 100 letters, digits, dots, underscores, colons or hyphens.",
            param="request_id",
        )
    return given


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer as it came.

    Attributes:
        status: HTTP status.
        headers: By name in small letters.
        content: The body, whole.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T_co]):
    """A request, and how its answer is read.

    Attributes:
        plane: Where it goes.
        method: HTTP method.
        path: Route.
        read: Makes the answer of a reply with status 200; raises UnexpectedAnswerError where it cannot.
        body: Makes the JSON body; None for none. May read files and compress pictures, so it runs off the event loop.
        params: Query string.
        accept: Media type asked for.
        timeout_s: Seconds that the answer may take; the client's time-out if None.
        repeatable: True where sending it twice does what sending it once does.
        slow_body: True where ``body`` takes long enough to be kept off an event loop.
        places: Where each item of the request stands in the caller's list; errors name items by it.
        request_id: ``X-Request-Id``, the same for every try.
    """

    plane: Plane
    method: str
    path: str
    read: Callable[[Reply], T_co]
    body: Callable[[], bytes] | None = None
    params: Mapping[str, str] | None = None
    accept: str = "application/json"
    timeout_s: float | None = None
    repeatable: bool = True
    slow_body: bool = False
    places: Sequence[int] = ()
    request_id: str = field(default_factory=new_request_id)

    def headers(self) -> dict[str, str]:
        """Return what is sent beside the plane's own headers."""
        sent = {"Accept": self.accept, "X-Request-Id": self.request_id}
        if self.body is not None:
            sent["Content-Type"] = "application/json"
        return sent
