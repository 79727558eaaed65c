"""Defines the request and response of a handler, and encodes responses as HTTP/1.1."""

from __future__ import annotations

import urllib.parse
from collections.abc import AsyncGenerator, Callable, Mapping
from http import HTTPStatus

import msgspec

_REASONS = {status.value: status.phrase for status in HTTPStatus}
_heads: dict[tuple[int, str], str] = {}


# Structs, because every request creates one of each, and a dataclass takes ten times as long to create.


class Request(msgspec.Struct, gc=False):
    """A request. Handlers get it with the complete body.

    Attributes:
        method: Method in upper case.
        path: Decoded path, without the query.
        query_string: The undecoded text after ``?``.
        headers: Value by lower-case name; the values of a repeated header are joined by commas.
        body: The body, without chunk framing.
        pieces: The pieces of a large body; ``body`` is empty until they are joined in a thread.
        variable: The part of the path that a route's ``{name}`` matches.
    """

    method: str
    path: str
    query_string: str = ""
    headers: Mapping[bytes, bytes] = msgspec.field(default_factory=dict)
    body: bytes = b""
    pieces: tuple[bytes, ...] = ()
    variable: str = ""

    def header(self, name: str) -> str:
        """Return a header's value, empty if absent."""
        return self.headers.get(name.encode(), b"").decode("latin-1")

    @property
    def query(self) -> dict[str, str]:
        """Query parameters by name; the last value of a repeated parameter."""
        return dict(urllib.parse.parse_qsl(self.query_string, keep_blank_values=True))


class Response(msgspec.Struct, gc=False):
    """A complete response.

    Attributes:
        body: The body; a memoryview of bytes must not change until the response is sent.
        status: HTTP status.
        media_type: ``Content-Type``.
        headers: Additional headers.
        on_written: Called when the response is passed to the connection; None for nothing.
    """

    body: bytes | memoryview
    status: int = 200
    media_type: str = "application/json"
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    on_written: Callable[[], None] | None = None


class StreamedResponse(Response, gc=True, kw_only=True):
    """A response whose body is sent piece by piece; only the coroutine of an exchange may return it.

    The client gets each piece at once, and the next one is asked for when the client has room for it. What a handler
    knows to fail should fail before it returns the response: after that, ``pieces`` can only say so in a last piece, or
    raise an exception, which cuts the body off so that the client notices.

    Attributes:
        body: Unused.
        pieces: Pieces of the body. Cancelled when the client disconnects.
        on_end: Called once after the last piece; with False if the body was cut off.
    """

    pieces: AsyncGenerator[bytes, None]
    body: bytes | memoryview = b""
    on_end: Callable[[bool], None] = lambda _: None


def encode_head(response: Response, *, date: str, connection: str = "", framing: str | None = None) -> bytes:
    """Encode a response without its body.

    Args:
        response: The response. Its headers must not contain text from a client, which could inject headers.
        date: Value of the ``Date`` header.
        connection: Value of the ``Connection`` header; omitted if empty.
        framing: Header line that says where the body ends, or nothing; None for ``Content-Length``.
    """
    kind = (response.status, response.media_type)
    head = _heads.get(kind)
    if head is None:
        status_line = f"HTTP/1.1 {response.status} {_REASONS.get(response.status, '')}"
        head = _heads[kind] = f"{status_line}\r\ncontent-type: {response.media_type}\r\n"
    if framing is None:
        framing = f"content-length: {len(response.body)}\r\n"
    text = f"{head}date: {date}\r\n{framing}"
    for name, value in response.headers.items():
        text += f"{name}: {value}\r\n"
    if connection:
        text += f"connection: {connection}\r\n"
    return f"{text}\r\n".encode("latin-1")
