"""Types for one request and one response."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ingrain.errors import InvalidRequestError
from ingrain.vocabulary import Plane

# The server accepts 128 characters (`server/endpoint.py`); the rest is for the number of a request within a call.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}")

T_co = TypeVar("T_co", covariant=True)


def new_request_id() -> str:
    """Return a unique id for a request, which the server logs."""
    return uuid.uuid4().hex


def checked_request_id(given: str | None) -> str:
    """Return the caller's id if given, else a new one.

    Raises:
        InvalidRequestError: The server would replace the id, so that the response could not be matched.
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
    """A response.

    Attributes:
        status: HTTP status.
        headers: Headers by lowercase name.
        content: The complete body.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T_co]):
    """A request, and the function that reads its response.

    Attributes:
        plane: Plane that serves the request.
        method: HTTP method.
        path: Route.
        read: Decodes a response with the status of success; raises UnexpectedAnswerError if that fails.
        success: That status.
        body: Returns the JSON body; None for no body. May read files and compress images.
        params: Query string.
        accept: Media type for the ``Accept`` header.
        timeout_s: Timeout of the response in seconds; the client's timeout if None.
        repeatable: True if the request is idempotent.
        slow_body: True if ``body`` is slow, so that it must run outside the event loop.
        places: Index of each item of the request in the caller's list; errors name items by it.
        request_id: ``X-Request-Id``, the same for all attempts.
        retries: Largest number of retries; None for that of the client's policy.
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
    retries: int | None = None
    success: int = 200

    def headers(self) -> dict[str, str]:
        """Return the request's headers, without those of the plane."""
        sent = {"Accept": self.accept, "X-Request-Id": self.request_id}
        if self.body is not None:
            sent["Content-Type"] = "application/json"
        return sent
