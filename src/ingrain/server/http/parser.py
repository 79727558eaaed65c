"""Parses the bytes of one connection into requests, and limits the size of request heads."""

from __future__ import annotations

import logging
import re
from typing import Protocol

import httptools

from ingrain.errors import IngrainError
from ingrain.server.http.incoming import IncomingRequest, announced_length, parse_request
from ingrain.server.http.refusals import headers_too_large, host_missing, malformed, unknown_transfer_coding

# Bytes passed to httptools at a time outside a body of known length. Small slices, because one slice may start several
# requests, and the connection counts them only between slices.
_HEAD_SLICE, _CHUNKED_SLICE = 1024, 4096
_MOST_HEADERS = 256
# RFC 9110 allows any registered name in Host, even an empty one and commas, by which two headers would be joined.
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+;=-]+)(?::[0-9]{0,5})?")

log = logging.getLogger("ingrain.server")


class RequestEvents(Protocol):
    """Callbacks for the parts of a request, called while bytes are parsed."""

    def request_started(self) -> None:
        """Called at the first byte of a request."""
        ...

    def head_parsed(self, message: IncomingRequest) -> None:
        """Called when request line and headers are complete."""
        ...

    def body_parsed(self, piece: bytes) -> None:
        """Called for each piece of the body."""
        ...

    def request_parsed(self) -> None:
        """Called when the request is complete."""
        ...


class RequestParser:
    """Parses requests with httptools, which calls the methods ``on_*``.

    A request for an upgrade to another protocol (``Upgrade`` header, CONNECT) is parsed as plain HTTP/1.1.

    Args:
        events: Callbacks for the parts of requests.
        max_header_bytes: Limit for request line and headers together, and for the framing between two body pieces.
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
        """Return how many bytes to pass to the next ``feed`` at most."""
        message = self._message
        if self._in_head or message is None:
            return _HEAD_SLICE
        left = announced_length(message.request) - message.size
        return left if left > 0 else _CHUNKED_SLICE

    def feed(self, data: bytes) -> bytes:
        """Parse bytes, and call the callbacks of ``events``.

        Returns:
            Bytes to feed before any other bytes; empty except after an upgrade request.

        Raises:
            IngrainError: The request is invalid or refused. The parser cannot be used any more.
        """
        # Counts since the last body piece, so that endless headers, chunk extensions and trailers are refused, too.
        self._overhead_bytes += len(data)
        rest = b""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = self._parse_without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, IngrainError):
                raise error.__context__ from None
            log.exception("Receiving a request failed")
            raise IngrainError("The server failed on this request; its log has the cause.") from error
        except httptools.HttpParserError as error:
            raise malformed() from error
        if self._overhead_bytes > self._max_header_bytes + _HEAD_SLICE:
            raise headers_too_large(self._max_header_bytes, _MOST_HEADERS)
        return rest

    def close(self) -> None:
        """Free the memory of an incomplete request."""
        self._message, self._headers = None, {}

    def _parse_without_upgrade(self, rest: bytes) -> bytes:
        """Start a new parser for the body of an upgrade request.

        httptools takes the body after an upgrade request for data of the other protocol and stops.

        Returns:
            A made-up request head with the framing of the real one, followed by ``rest``, for the new parser.
        """
        assert self._message is not None
        self._parser = httptools.HttpRequestParser(self)
        self._awaits_body_after_upgrade = True
        request = self._message.request
        framing = "transfer-encoding" if request.header("transfer-encoding") else "content-length"
        head = f"POST / HTTP/1.1\r\n{framing}: {request.header(framing) or '0'}\r\n\r\n"
        return head.encode("latin-1") + rest

    # --- called by httptools -------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Reset the state for a new request."""
        self._url, self._headers, self._header_count = b"", {}, 0
        self._events.request_started()

    def on_url(self, url: bytes) -> None:
        """Append a piece of the URL."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header; ignore trailers."""
        self._header_count += 1
        if self._in_head and self._header_count <= _MOST_HEADERS:
            name, headers = name.lower(), self._headers
            headers[name] = headers[name] + b", " + value if name in headers else value

    def on_headers_complete(self) -> None:
        """Check the request head and call ``head_parsed``.

        Raises:
            IngrainError: The head is invalid; ``feed`` raises this error.
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
        if request is None or version not in ("1.0", "1.1"):
            raise malformed()
        host = headers.get(b"host")
        if not (_HOST.fullmatch(host) if host is not None else version == "1.0"):
            raise host_missing()
        coding = headers.get(b"transfer-encoding")
        if coding is not None and (coding.lower() != b"chunked" or version == "1.0"):
            raise unknown_transfer_coding() if version == "1.1" else malformed()
        self._message = IncomingRequest(
            request,
            keep_alive=parser.should_keep_alive(),
            is_http_1_0=version == "1.0",
            expects_continue=version == "1.1" and headers.get(b"expect", b"").lower() == b"100-continue",
        )
        self._events.head_parsed(self._message)

    def on_body(self, body: bytes) -> None:
        """Call ``body_parsed``."""
        self._overhead_bytes = 0
        self._events.body_parsed(body)

    def on_message_complete(self) -> None:
        """Call ``request_parsed``, except for an upgrade request: the new parser reads its body first."""
        self._in_head, self._overhead_bytes, self._header_count = True, 0, 0
        if self._message is not None and self._parser.should_upgrade():
            self._message.keep_alive = False
            return
        self._message = None
        self._events.request_parsed()
