"""A request that is being received: its head, the body so far, and the application's decision on it."""

from __future__ import annotations

import urllib.parse

import httptools
import msgspec

from ingrain.server.http.application import Exchange
from ingrain.server.http.message import Request, Response


class IncomingRequest(msgspec.Struct, eq=False):
    """A request that is being received or waits for its turn.

    Attributes:
        request: Method, path and headers; the body once it is complete.
        keep_alive: Whether the connection stays open after the response.
        is_http_1_0: Whether the caller speaks HTTP/1.0.
        expects_continue: Whether the caller waits for ``100 Continue`` before it sends the body.
        is_begun: Whether a task answers the request.
        exchange: From the application, if it let the request in.
        refusal: The response, if it is known already.
        size: Bytes of the body so far.
        first: First piece of the body.
        rest: Its other pieces.
    """

    request: Request
    keep_alive: bool = False
    is_http_1_0: bool = False
    expects_continue: bool = False
    is_begun: bool = False
    exchange: Exchange | None = None
    refusal: Response | None = None
    size: int = 0
    first: bytes = b""
    rest: bytearray | None = None

    def add(self, piece: bytes) -> None:
        """Add a piece of the body; a body that comes in one piece is not copied."""
        if not self.first:
            self.first = piece
        elif self.rest is None:
            self.rest = bytearray(piece)
        else:
            self.rest += piece

    def close_body(self) -> None:
        """Set the request's body, which is complete."""
        self.request.body = self.first if self.rest is None else self.first + self.rest
        self.first, self.rest = b"", None

    def abandon(self) -> None:
        """Tell the application that the caller is gone, unless the request was refused or a task answers it."""
        if self.exchange is not None and self.refusal is None and not self.is_begun:
            self.exchange.abandon()


def parse_request(method: bytes, url: bytes, headers: dict[bytes, bytes]) -> Request | None:
    """Return the request; None if the URL is invalid."""
    if not url.startswith(b"/") and b"://" in url:
        try:
            parsed = httptools.parse_url(url)
        except httptools.HttpParserInvalidURLError:
            return None
        url = (parsed.path or b"/") + (b"?" + parsed.query if parsed.query else b"")
    path, _, query = url.decode("latin-1").partition("?")
    if "%" in path:
        path = urllib.parse.unquote(path)
    return Request(method.decode("ascii"), path, query.partition("#")[0], headers)


def announced_length(request: Request) -> int:
    """Return ``Content-Length``, 0 if absent; httptools has checked that it is a number."""
    return int(request.headers.get(b"content-length", b"0"))
