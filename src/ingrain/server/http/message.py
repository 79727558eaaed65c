"""Requests and responses as handlers see them, and the encoding of responses."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from http import HTTPStatus

import msgspec

_REASONS = {status.value: status.phrase for status in HTTPStatus}
_heads: dict[tuple[int, str], str] = {}


# Structs, not dataclasses: one of each is made for every request, in a tenth of the time.


class Request(msgspec.Struct, gc=False):
    """A request; its body is complete when a handler sees it.

    Attributes:
        method: In upper case.
        path: Decoded path, without the query.
        query_string: The undecoded text after ``?``.
        headers: Values by lower-case name; those of repeated headers are joined by commas.
        body: The body, without chunk framing.
    """

    method: str
    path: str
    query_string: str = ""
    headers: Mapping[bytes, bytes] = msgspec.field(default_factory=dict)
    body: bytes = b""

    def header(self, name: str) -> str:
        """Return a header's value, empty if absent."""
        return self.headers.get(name.encode(), b"").decode("latin-1")

    @property
    def query(self) -> dict[str, str]:
        """Parameters of the query string; of several with one name, the last."""
        return dict(urllib.parse.parse_qsl(self.query_string, keep_blank_values=True))


class Response(msgspec.Struct, gc=False):
    """A complete response.

    Attributes:
        body: The body.
        status: HTTP status.
        media_type: ``Content-Type``.
        headers: Further headers.
    """

    body: bytes
    status: int = 200
    media_type: str = "application/json"
    headers: dict[str, str] = msgspec.field(default_factory=dict)


def encode_response(response: Response, *, date: str, connection: str = "", with_body: bool = True) -> bytes:
    """Encode a response.

    Args:
        response: Its headers must not hold text from a caller.
        date: Value of the ``Date`` header.
        connection: Value of the ``Connection`` header; omitted if empty.
        with_body: False for a response to HEAD, which has all headers and no body.
    """
    kind = (response.status, response.media_type)
    head = _heads.get(kind)
    if head is None:
        status_line = f"HTTP/1.1 {response.status} {_REASONS.get(response.status, '')}"
        head = _heads[kind] = f"{status_line}\r\ncontent-type: {response.media_type}\r\n"
    text = f"{head}date: {date}\r\ncontent-length: {len(response.body)}\r\n"
    for name, value in response.headers.items():
        text += f"{name}: {value}\r\n"
    if connection:
        text += f"connection: {connection}\r\n"
    encoded = f"{text}\r\n".encode("latin-1")
    return encoded + response.body if with_body else encoded
