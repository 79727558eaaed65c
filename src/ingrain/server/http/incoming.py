"""A request while it comes in: its head, the pieces of its body, and whether it was let in."""

from __future__ import annotations

import urllib.parse

import httptools
import msgspec

from ingrain.server.http.application import Exchange
from ingrain.server.http.message import Request, Response


class IncomingRequest(msgspec.Struct, eq=False):
    """A request on its way, and what becomes of it."""

    request: Request
    keep_alive: bool = False
    is_http_1_0: bool = False
    wants_leave: bool = False
    is_begun: bool = False
    exchange: Exchange | None = None
    refusal: Response | None = None
    size: int = 0
    first: bytes = b""
    rest: bytearray | None = None

    def add(self, piece: bytes) -> None:
        """Take a piece of the body: one stays as it is, many are not kept as many objects."""
        if not self.first:
            self.first = piece
        elif self.rest is None:
            self.rest = bytearray(piece)
        else:
            self.rest += piece

    def close_body(self) -> None:
        """Put the body together."""
        self.request.body = self.first if self.rest is None else self.first + self.rest
        self.first, self.rest = b"", None

    def abandon(self) -> None:
        """Forget the request, unless it was refused before or answers by itself."""
        if self.exchange is not None and self.refusal is None and not self.is_begun:
            self.exchange.abandon()


def parse_request(method: bytes, url: bytes, headers: dict[bytes, bytes]) -> Request | None:
    """Return the request; None where its URL is none."""
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
    """Return the length that the headers tell, 0 if they tell none; the parser has checked that it is a number."""
    return int(request.headers.get(b"content-length", b"0"))
