"""Holds a request while it is received and queued, and parses request heads."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping

import httptools
import msgspec

from ingrain.server.http.application import Exchange
from ingrain.server.http.body_budget import BodyBudget
from ingrain.server.http.message import Request, Response

_JOINED_BYTES = 65_536
_LARGE_PIECE = 65_536
_TAIL_BYTES = 1_048_576

_AUTHORITY_END = re.compile(rb"[/?#]")


class IncomingRequest(msgspec.Struct, eq=False):
    """A request that is being received or is queued.

    Attributes:
        request: Method, path and headers; has the body, or its pieces, once it is complete.
        keep_alive: Whether the connection stays open after the response.
        is_http_1_0: Whether the client speaks HTTP/1.0.
        expects_continue: Whether the client waits for ``100 Continue`` before it sends the body.
        is_begun: Whether a task answers the request.
        exchange: The application's exchange, if it accepted the request.
        refusal: The error response, if the request is refused.
        added_headers: Headers to add to the response.
        may_be_cached: Whether another request with the same head needs no new check of the head.
        held_bytes: Bytes of the body that the budget of bodies counts.
        size: Bytes of the body received so far.
        first: First piece of the body.
        rest: The other pieces of the body.
        tail: Further small pieces, joined, because a client may send single bytes.
    """

    request: Request
    keep_alive: bool = False
    is_http_1_0: bool = False
    expects_continue: bool = False
    is_begun: bool = False
    exchange: Exchange | None = None
    refusal: Response | None = None
    added_headers: Mapping[str, str] = {}
    may_be_cached: bool = True
    held_bytes: int = 0
    size: int = 0
    first: bytes = b""
    rest: list[bytes] = []
    tail: bytearray | None = None

    def add(self, piece: bytes) -> None:
        """Add a piece of the body; a body of a single piece is not copied."""
        if not self.first:
            self.first = piece
        elif self.tail is None:
            if len(piece) >= _LARGE_PIECE:
                self.rest.append(piece)
            else:
                self.tail = bytearray(piece)
        else:
            self.tail += piece
            if len(self.tail) >= _TAIL_BYTES:
                self._end_tail()

    def _end_tail(self) -> None:
        if self.tail is not None:
            self.rest.append(bytes(self.tail))  # joining pieces lets other threads run if all are bytes
            self.tail = None

    def close_body(self) -> None:
        """Set ``request.body`` to the complete body; ``request.pieces`` if joining it takes long."""
        self._end_tail()
        if not self.rest:
            self.request.body = self.first
        elif self.size <= _JOINED_BYTES:
            self.request.body = b"".join((self.first, *self.rest))
        else:
            self.request.pieces = (self.first, *self.rest)
        self.drop_body()

    def hold(self, bodies: BodyBudget, size: int) -> None:
        """Count bytes of the body in the budget."""
        bodies.take(size)
        self.held_bytes += size

    def release(self, bodies: BodyBudget) -> None:
        """Count the body no longer in the budget."""
        if self.held_bytes:
            bodies.give_back(self.held_bytes)
            self.held_bytes = 0

    def drop_body(self) -> None:
        """Free the pieces of the body."""
        self.first, self.rest, self.tail = b"", [], None

    def abandon(self) -> None:
        """Abandon the exchange, unless the request was refused or a task answers it."""
        if self.exchange is not None and self.refusal is None and not self.is_begun:
            self.exchange.abandon()


def parse_request(method: bytes, url: bytes, headers: dict[bytes, bytes]) -> Request | None:
    """Build a request from its parsed head; None if the URL is invalid. The host of a whole URL replaces ``Host``."""
    if not url.startswith(b"/") and b"://" in url:
        try:
            parsed = httptools.parse_url(url)
        except httptools.HttpParserInvalidURLError:
            return None
        if parsed.schema.lower() not in (b"http", b"https"):
            return None
        headers[b"host"] = _AUTHORITY_END.split(url.partition(b"://")[2], maxsplit=1)[0]
        url = (parsed.path or b"/") + (b"?" + parsed.query if parsed.query else b"")
    path, _, query = url.decode("latin-1").partition("?")
    if "%" in path:
        path = urllib.parse.unquote(path)
    return Request(method.decode("ascii"), path, query.partition("#")[0], headers)


def announced_length(request: Request) -> int:
    """Return ``Content-Length``, 0 if absent; httptools has checked that it is a number."""
    return int(request.headers.get(b"content-length", b"0"))
