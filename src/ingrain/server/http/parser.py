"""Parses the bytes of one connection into requests, with limits on everything but bodies."""

from __future__ import annotations

import logging
from typing import Protocol

import httptools

from ingrain.errors import IngrainError
from ingrain.server.http.incoming import IncomingRequest, announced_length, parse_request
from ingrain.server.http.refusals import headers_too_large, malformed

# Bytes parsed at a time where they may hold whole requests: few, so that few requests are begun before their number is
# checked.
_HEAD_SLICE, _CHUNKED_SLICE = 1024, 4096
_MOST_HEADERS = 256

log = logging.getLogger("ingrain.server")


class RequestEvents(Protocol):
    """Receives the parts of each request while bytes are parsed."""

    def request_started(self) -> None:
        """The first byte of a request has come."""
        ...

    def head_parsed(self, message: IncomingRequest) -> None:
        """Request line and headers are complete."""
        ...

    def body_parsed(self, piece: bytes) -> None:
        """A piece of the body has come."""
        ...

    def request_parsed(self) -> None:
        """The request is complete."""
        ...


class RequestParser:
    """Parses requests with httptools, which calls the methods ``on_*``.

    A request that asks for an upgrade to another protocol is parsed as HTTP/1.1.

    Args:
        events: Receives the parts of requests.
        max_header_bytes: Most bytes of request line and headers, and of whatever else is no body.
    """

    def __init__(self, events: RequestEvents, max_header_bytes: int) -> None:
        self._events = events
        self._max_header_bytes = max_header_bytes
        self._parser = httptools.HttpRequestParser(self)
        self._message: IncomingRequest | None = None
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._header_count = 0
        self._in_head = True
        self._awaits_body_after_upgrade = False
        self._overhead_bytes = 0

    def next_size(self) -> int:
        """Return the most bytes to ``feed`` next."""
        message = self._message
        if self._in_head or message is None:
            return _HEAD_SLICE
        left = announced_length(message.request) - message.size
        return left if left > 0 else _CHUNKED_SLICE

    def feed(self, data: bytes) -> bytes:
        """Parse bytes.

        Returns:
            Bytes to be parsed next, before any others; nearly always none.

        Raises:
            IngrainError: The request is refused; no further bytes can be parsed.
        """
        # Since the last piece of a body: headers, chunk extensions and trailers may be endless, too.
        self._overhead_bytes += len(data)
        rest = b""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = self._parse_without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, IngrainError):
                raise error.__context__ from None
            log.exception("A request could not be taken in")
            raise IngrainError("The server failed on this request.") from error
        except httptools.HttpParserError as error:
            raise malformed() from error
        if self._overhead_bytes > self._max_header_bytes + _HEAD_SLICE:
            raise headers_too_large(self._max_header_bytes, _MOST_HEADERS)
        return rest

    def close(self) -> None:
        """Free what was parsed of an incomplete request."""
        self._message, self._headers = None, {}

    def _parse_without_upgrade(self, rest: bytes) -> bytes:
        """Return the bytes that make a new parser read the body which this one takes for another protocol's data."""
        assert self._message is not None
        self._parser = httptools.HttpRequestParser(self)
        self._awaits_body_after_upgrade = True
        request = self._message.request
        framing = "transfer-encoding" if request.header("transfer-encoding") else "content-length"
        head = f"POST / HTTP/1.1\r\n{framing}: {request.header(framing) or '0'}\r\n\r\n"
        return head.encode("latin-1") + rest

    # --- called by httptools -------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Start a request."""
        self._url, self._headers, self._header_count = b"", {}, 0
        self._events.request_started()

    def on_url(self, url: bytes) -> None:
        """Add a piece of the URL."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header; trailers are ignored."""
        self._header_count += 1
        if self._in_head and self._header_count <= _MOST_HEADERS:
            name, headers = name.lower(), self._headers
            headers[name] = headers[name] + b", " + value if name in headers else value

    def on_headers_complete(self) -> None:
        """Check the head and pass it on.

        Raises:
            IngrainError: The head is refused; ``feed`` raises this error.
        """
        self._in_head = False
        if self._awaits_body_after_upgrade:
            self._awaits_body_after_upgrade = False
            return
        if self._header_count > _MOST_HEADERS:
            raise headers_too_large(self._max_header_bytes, _MOST_HEADERS)
        parser, headers = self._parser, self._headers
        version = parser.get_http_version()
        request = parse_request(parser.get_method(), self._url, headers)
        if request is None or version not in ("1.0", "1.1") or b"," in headers.get(b"host", b""):
            raise malformed()
        self._message = IncomingRequest(
            request,
            keep_alive=parser.should_keep_alive(),
            is_http_1_0=version == "1.0",
            expects_continue=version == "1.1" and headers.get(b"expect", b"").lower() == b"100-continue",
        )
        self._events.head_parsed(self._message)

    def on_body(self, body: bytes) -> None:
        """Pass on a piece of the body."""
        self._overhead_bytes = 0
        self._events.body_parsed(body)

    def on_message_complete(self) -> None:
        """Pass on that the request is complete, unless its body is still to be read after an upgrade request."""
        self._in_head, self._overhead_bytes, self._header_count = True, 0, 0
        if self._message is not None and self._parser.should_upgrade():
            self._message.keep_alive = False
            return
        self._message = None
        self._events.request_parsed()
