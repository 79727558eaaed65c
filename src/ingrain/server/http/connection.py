"""One connection: its bytes become requests, which are answered in their order."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, cast

import httptools

from ingrain.errors import (
    DeadlineExceededError,
    HeadersTooLargeError,
    IngrainError,
    InvalidRequestError,
    TooLargeError,
)
from ingrain.server.http.application import Exchange, Started
from ingrain.server.http.incoming import IncomingRequest, announced_length, parse_request
from ingrain.server.http.message import Request, Response, encode_response

if TYPE_CHECKING:
    from ingrain.server.http.server import HttpServer

# What is parsed at a time: small where a few bytes may be a whole request, so that few requests are taken in before
# somebody looks how many wait.
_HEAD_SLICE, _CHUNKED_SLICE = 1024, 4096
_MOST_PIPELINED = 16
_MOST_HEADERS = 256
_SHORT_BODY = 262_144
_LINGER_S = 2.0
_LEAST_BYTES_PER_S = 16_384

log = logging.getLogger("ingrain.server")


class Connection(asyncio.Protocol):
    """Parses requests, hands them to the application, and writes each answer at once and whole.

    A caller that goes away cancels what is computed for it. A caller that is refused before its body came is read on
    for a moment, or the operating system would tear down the connection before the refusal arrives.
    """

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._limits = server.limits
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._unparsed = b""
        self._piece: bytes | None = None
        self._has_last = False
        self._waiting: deque[IncomingRequest] = deque()
        self._incoming: IncomingRequest | None = None
        self._current: IncomingRequest | None = None
        self._upgraded: IncomingRequest | None = None
        self._task: asyncio.Task[None] | None = None
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._header_count = 0
        self._in_head = True
        self._stalled_bytes = 0
        self._idle_since = self._began_at = self._blocked_since = server.now
        self._buffered = 0
        self._is_reading = False
        self._is_blocked = False
        self._is_paused = False
        self._is_lingering = False
        self._answered_at_once = 0
        self._will_parse: asyncio.Handle | None = None

    # --- the transport's side ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection into the care of the server."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own is no subclass of it
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel what is computed for the caller, and forget what waits."""
        del exc
        self._server.forget(self)
        self._is_lingering = True
        if self._task is not None:
            self._task.cancel()
        for message in (*self._waiting, self._current, self._incoming, self._upgraded):
            if message is not None:
                message.abandon()
        # Bodies are let go of now, not when the cycle of connection and parser is collected.
        self._waiting.clear()
        self._incoming = self._current = self._upgraded = self._task = None
        self._unparsed, self._headers = b"", {}

    def data_received(self, data: bytes) -> None:
        """Parse what has come."""
        if self._is_lingering:
            return
        if self._unparsed:
            self._unparsed += data
            self._parse()
        elif self._is_reading or self._has_last or not self._take_known(data):
            self._piece, self._unparsed = (None if self._is_reading else data), data
            self._parse()
            self._piece = None

    def pause_writing(self) -> None:
        """Start no further answer: the caller does not take what was written."""
        self._is_blocked = True
        self._blocked_since = self._server.now
        self._buffered = self._transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        """Go on answering."""
        self._is_blocked = False
        self._next()
        self._parse()

    # --- parsing -------------------------------------------------------------------------------------------------

    def _take_known(self, data: bytes) -> bool:
        """Take a whole request whose head was parsed before past the parser; tell whether it was one."""
        request = self._server.known_heads.find(data)
        if request is None or len(self._waiting) >= _MOST_PIPELINED:
            return False
        message = IncomingRequest(request, keep_alive=True)
        begun = self._server.application.begin(request)
        if isinstance(begun, Response):
            message.refusal = begun
        else:
            message.exchange = begun
        self._waiting.append(message)
        self._next()
        return True

    def _parse(self) -> None:
        """Feed the parser piece by piece, and leave the rest for later where enough requests wait, or were answered."""
        self._answered_at_once = 0
        while self._unparsed and not self._is_lingering and len(self._waiting) < _MOST_PIPELINED:
            if self._answered_at_once >= _MOST_PIPELINED:  # let others have a turn
                if self._will_parse is None:
                    self._will_parse = self._server.loop.call_soon(self._parse_on)
                break
            size = self._slice()
            piece, self._unparsed = self._unparsed[:size], self._unparsed[size:]
            self._feed(piece)
        if self._is_lingering:
            self._unparsed = b""
        self._pause_or_resume()

    def _parse_on(self) -> None:
        self._will_parse = None
        self._parse()

    def _slice(self) -> int:
        message = self._incoming
        if self._in_head or message is None:
            return _HEAD_SLICE
        left = announced_length(message.request) - message.size
        return left if left > 0 else _CHUNKED_SLICE

    def _feed(self, piece: bytes) -> None:
        # Endless headers, chunk extensions and trailers give no body.
        self._stalled_bytes += len(piece)
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            self._resume_without_upgrade(piece[upgrade.args[0] :])
        except httptools.HttpParserCallbackError:
            log.exception("A request could not be taken in")
            self._refuse(IngrainError("The server failed on this request."))
        except httptools.HttpParserError:
            self._refuse(InvalidRequestError("The request is not valid HTTP/1.1."))
        if self._stalled_bytes > self._limits.max_header_bytes + _HEAD_SLICE:
            self._refuse_headers()

    def _refuse_headers(self) -> None:
        limit = self._limits.max_header_bytes
        self._refuse(
            HeadersTooLargeError(
                f"The request line and headers are longer than {limit} bytes (INGRAIN_MAX_HEADER_BYTES), or are "
                f"more than {_MOST_HEADERS}.",
                facts={"limit": limit},
            )
        )

    def _resume_without_upgrade(self, rest: bytes) -> None:
        """Read the body of a request that asked for another protocol besides: it is answered by HTTP/1.1.

        The parser takes what follows such a request for the other protocol; another one reads it as what it is.
        """
        if self._is_lingering:
            return
        message = self._upgraded
        self._parser = httptools.HttpRequestParser(self)
        if message is None:
            self._transport.close()
            return
        framing = "transfer-encoding" if message.request.header("transfer-encoding") else "content-length"
        value = message.request.header(framing) or "0"
        self._unparsed = f"POST / HTTP/1.1\r\n{framing}: {value}\r\n\r\n".encode("latin-1") + rest + self._unparsed

    def _pause_or_resume(self) -> None:
        must_pause = bool(self._unparsed)
        if must_pause != self._is_paused and not self._transport.is_closing():
            self._is_paused = must_pause
            if must_pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    # --- the parser's side ---------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._url, self._headers, self._header_count = b"", {}, 0
        self._is_reading = True
        self._began_at = self._server.now

    def on_url(self, url: bytes) -> None:
        """Take a piece of the URL."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; those behind the body are passed over."""
        self._header_count += 1
        if self._in_head and self._header_count <= _MOST_HEADERS:
            name = name.lower()
            earlier = self._headers.get(name)
            self._headers[name] = value if earlier is None else earlier + b", " + value

    def on_headers_complete(self) -> None:
        """Ask the application whether to let the request in."""
        self._in_head = False
        if self._is_lingering:
            return
        if self._header_count > _MOST_HEADERS:
            self._refuse_headers()
            return
        if self._upgraded is not None:
            self._incoming, self._upgraded = self._upgraded, None
            return
        parser = self._parser
        version = parser.get_http_version()
        request = parse_request(parser.get_method(), self._url, self._headers)
        if request is None or version not in ("1.0", "1.1") or b"," in self._headers.get(b"host", b""):
            self._refuse(InvalidRequestError("The request is not valid HTTP/1.1."))
            return
        message = self._incoming = IncomingRequest(
            request, keep_alive=parser.should_keep_alive(), is_http_1_0=version == "1.0"
        )
        begun = self._server.application.begin(request)
        expects = version == "1.1" and self._headers.get(b"expect", b"").lower() == b"100-continue"
        if isinstance(begun, Response):
            self._refuse_body(message, begun, at_once=expects)
            return
        message.exchange = begun
        if announced_length(request) > self._limits.max_body_bytes:
            self._refuse_body(message, begun.refuse(self._too_large()), at_once=True)
        elif expects:
            message.wants_leave = True
            self._give_leave()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        message = self._incoming
        self._stalled_bytes = 0
        if message is None or message.exchange is None or message.refusal is not None or self._is_lingering:
            return
        message.size += len(body)
        if message.size > self._limits.max_body_bytes:
            self._refuse_body(message, message.exchange.refuse(self._too_large()), at_once=True)
            return
        message.add(body)

    def on_message_complete(self) -> None:
        """Let the request be answered."""
        self._in_head, self._stalled_bytes, self._header_count = True, 0, 0
        message, self._incoming = self._incoming, None
        if message is None:
            return
        if self._parser.should_upgrade():
            message.keep_alive = False
            self._upgraded = message  # its body has not been read
            return
        self._is_reading = False
        self._has_last = self._has_last or not message.keep_alive
        message.close_body()
        if self._piece is not None:
            self._server.known_heads.learn(self._piece, message)
        self._waiting.append(message)
        self._next()

    # --- answering -----------------------------------------------------------------------------------------------

    def _next(self) -> None:
        """Answer the next request, unless one is being answered or the caller does not take what was written."""
        while self._waiting and self._current is None and not self._is_blocked and not self._transport.is_closing():
            message = self._current = self._waiting.popleft()
            if message.refusal is not None:
                self._write(message, message.refusal)
            else:
                assert message.exchange is not None
                try:
                    started = message.exchange.start(self._deliver)
                except BaseException:  # such as a panic of a library's; it must not end whoever called us
                    log.exception("A request could not be started")
                    self._transport.abort()
                    return
                if started is Started.NEEDS_A_TASK:
                    self._task = self._server.loop.create_task(self._answer(message, message.exchange))
                elif started is not Started.WILL_BE_DELIVERED:
                    self._answered_at_once += 1
                    self._write(message, started)
        if self._incoming is not None:
            self._give_leave()

    def _deliver(self, response: Response) -> None:
        """Write the answer of the request that was started last."""
        assert self._current is not None
        self._write(self._current, response)
        if self._waiting or self._incoming is not None:
            self._next()
        if self._unparsed:
            self._parse()

    async def _answer(self, message: IncomingRequest, exchange: Exchange) -> None:
        message.is_begun = True  # a task that is cancelled before its first step does nothing at all
        try:
            response = await exchange.answer()
        except BaseException:  # a caller that gets no answer must not wait for one
            self._transport.abort()
            raise
        self._task = None
        self._deliver(response)

    def _give_leave(self) -> None:
        """Let a caller send its body that waits for leave, once nothing else is to be written before."""
        message = self._incoming
        if message is not None and message.wants_leave and self._current is None and not self._waiting:
            message.wants_leave = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _write(self, message: IncomingRequest, response: Response) -> None:
        self._current = None
        if self._transport.is_closing():
            return
        stays = message.keep_alive and not self._server.is_closing
        connection = ("keep-alive" if message.is_http_1_0 else "") if stays else "close"
        self._idle_since = self._server.now
        self._transport.write(
            encode_response(
                response, date=self._server.date, connection=connection, with_body=message.request.method != "HEAD"
            )
        )
        if not stays:
            self._hang_up()

    def _hang_up(self) -> None:
        """Close, after what was written has gone out and what still comes has been read for a moment."""
        for message in self._waiting:
            message.abandon()
        self._waiting.clear()
        must_linger = self._is_reading or bool(self._unparsed)
        if self._incoming is not None:
            self._incoming.abandon()
            self._incoming = None
        self._is_lingering, self._unparsed = True, b""
        if not must_linger:
            self._transport.close()
            return
        self._pause_or_resume()
        try:
            self._transport.write_eof()
        except OSError:
            self._transport.abort()

    # --- refusing ------------------------------------------------------------------------------------------------

    def _refuse(self, error: IngrainError) -> None:
        """Answer what is no request, or none any more, after the requests before it; and hang up."""
        if self._is_lingering:
            return
        message, self._incoming = self._incoming, None
        if message is None or message.exchange is None:
            message = IncomingRequest(Request("", ""), refusal=self._server.application.refuse(error))
        elif message.refusal is None:
            message.refusal = message.exchange.refuse(error)
        self._enqueue_last(message)

    def _refuse_body(self, message: IncomingRequest, refusal: Response, *, at_once: bool) -> None:
        """Answer a request before its body has come; a body of some size is not waited for."""
        message.refusal = refusal
        is_long = (
            bool(message.request.headers.get(b"transfer-encoding")) or announced_length(message.request) > _SHORT_BODY
        )
        if at_once or is_long:
            self._incoming = None
            self._enqueue_last(message)
        # Else it is answered when the short body, which must be read anyway, has come.

    def _enqueue_last(self, message: IncomingRequest) -> None:
        message.keep_alive = False
        message.first, message.rest = b"", None
        self._is_lingering = True
        self._idle_since = self._server.now
        self._waiting.append(message)
        self._next()

    def _too_large(self) -> TooLargeError:
        limit = self._limits.max_body_bytes
        return TooLargeError(
            f"The body is larger than {limit} bytes, the limit of this server (INGRAIN_MAX_BODY_BYTES).",
            facts={"limit": limit},
        )

    # --- time ----------------------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Look at the clock: end what has waited for the caller too long."""
        now, limit_s = self._server.now, self._limits.read_timeout_s
        if self._is_blocked or (self._transport.is_closing() and self._current is None):
            left = self._transport.get_write_buffer_size()
            if left < self._buffered:
                self._blocked_since = now
            self._buffered = left
            if now - max(self._blocked_since, self._idle_since) > limit_s:
                self._transport.abort()
        elif self._current is not None or self._waiting:
            pass  # the answer's own deadline holds
        elif self._is_lingering:
            if now - self._idle_since > _LINGER_S:
                self._transport.abort()
        elif self._is_reading:
            size = self._incoming.size if self._incoming is not None else 0
            if now - self._began_at > limit_s + size / _LEAST_BYTES_PER_S:
                self._refuse(
                    DeadlineExceededError(
                        f"The request did not arrive within {limit_s:g} s (INGRAIN_REQUEST_TIMEOUT_S)."
                    )
                )
        elif now - self._idle_since > self._limits.keep_alive_s:
            self._transport.close()

    def finish(self) -> None:
        """Close when there is nothing to answer, or else after the answer."""
        if self._current is None and not self._waiting and self._incoming is None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()
