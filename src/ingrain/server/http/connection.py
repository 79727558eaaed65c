"""One connection: its bytes become requests, which are answered in their order."""

from __future__ import annotations

import asyncio
import urllib.parse
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import httptools

from ingrain.errors import DeadlineExceededError, HeadersTooLargeError, IngrainError, InvalidRequestError, TooLargeError
from ingrain.server.http.application import Exchange
from ingrain.server.http.message import Request, Response, encode_response

if TYPE_CHECKING:
    from ingrain.server.http.server import HttpServer

_READ_BYTES = 262_144
_MOST_PIPELINED = 16
_LINGER_S = 2.0


@dataclass(slots=True)
class _Message:
    """A request on its way, and what becomes of it."""

    request: Request
    keep_alive: bool
    is_http_1_0: bool
    exchange: Exchange | None = None
    refusal: Response | None = None
    chunks: list[bytes] = field(default_factory=list)
    size: int = 0


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
        self._waiting: deque[_Message] = deque()
        self._incoming: _Message | None = None
        self._current: _Message | None = None
        self._task: asyncio.Task[None] | None = None
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._in_head = True
        self._stalled_bytes = 0
        self._since = server.now
        self._is_reading = False
        self._is_blocked = False
        self._is_paused = False
        self._is_lingering = False

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
        messages = [*self._waiting, self._incoming]
        self._waiting.clear()
        self._incoming = None
        for message in messages:
            if message is not None and message.exchange is not None:
                message.exchange.abandon()

    def data_received(self, data: bytes) -> None:
        """Parse what has come."""
        if self._is_lingering:
            return
        # Bytes since the headers began, or since the last of the body: endless headers and trailers give no body. One
        # read may hold the end of the headers and much of the body.
        self._stalled_bytes += len(data)
        if self._stalled_bytes > self._limits.max_header_bytes + _READ_BYTES:
            self._refuse(
                HeadersTooLargeError(
                    f"The request line and headers are longer than {self._limits.max_header_bytes} bytes, the limit of "
                    "this server (INGRAIN_MAX_HEADER_BYTES).",
                    facts={"limit": self._limits.max_header_bytes},
                )
            )
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # What was asked for besides is not known here; what was asked for by HTTP/1.1 is answered, as the last.
            self._is_lingering = True
            last = self._waiting[-1] if self._waiting else self._current
            if last is None:
                self._transport.close()
            else:
                last.keep_alive = False
        except httptools.HttpParserError:
            self._refuse(InvalidRequestError("The request is not valid HTTP/1.1."))

    def pause_writing(self) -> None:
        """Start no further answer: the caller does not take what was written."""
        self._is_blocked = True
        self._since = self._server.now

    def resume_writing(self) -> None:
        """Go on answering."""
        self._is_blocked = False
        self._next()

    # --- the parser's side ---------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._url = b""
        self._headers = {}
        self._is_reading = True
        self._since = self._server.now

    def on_url(self, url: bytes) -> None:
        """Take a piece of the URL."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; those behind the body are passed over."""
        if self._in_head:
            name = name.lower()
            earlier = self._headers.get(name)
            self._headers[name] = value if earlier is None else earlier + b", " + value

    def on_headers_complete(self) -> None:
        """Ask the application whether to let the request in."""
        self._in_head = False
        if self._is_lingering:
            return
        parser = self._parser
        message = self._incoming = _Message(
            request=_request(parser.get_method(), self._url, self._headers),
            keep_alive=parser.should_keep_alive(),
            is_http_1_0=parser.get_http_version() == "1.0",
        )
        begun = self._server.application.begin(message.request)
        if isinstance(begun, Response):
            self._refuse_body(message, begun)
            return
        message.exchange = begun
        announced = self._headers.get(b"content-length", b"")
        if announced and int(announced) > self._limits.max_body_bytes:
            self._refuse_body(message, begun.refuse(self._too_large()))
        elif self._headers.get(b"expect", b"").lower() == b"100-continue" and self._current is None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        message = self._incoming
        self._stalled_bytes = 0
        if message is None or message.exchange is None or message.refusal is not None or self._is_lingering:
            return
        message.size += len(body)
        if message.size > self._limits.max_body_bytes:
            self._refuse_body(message, message.exchange.refuse(self._too_large()))
            return
        message.chunks.append(body)

    def on_message_complete(self) -> None:
        """Let the request be answered."""
        self._in_head, self._stalled_bytes, self._is_reading = True, 0, False
        message, self._incoming = self._incoming, None
        if message is not None:
            message.request.body = message.chunks[0] if len(message.chunks) == 1 else b"".join(message.chunks)
            message.chunks = []
            self._enqueue(message)

    # --- answering -----------------------------------------------------------------------------------------------

    def _enqueue(self, message: _Message) -> None:
        self._waiting.append(message)
        if len(self._waiting) > _MOST_PIPELINED and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        self._next()

    def _next(self) -> None:
        """Answer the next request, unless one is being answered or the caller does not take what was written."""
        while self._waiting and self._current is None and not self._is_blocked:
            message = self._current = self._waiting.popleft()
            if message.exchange is not None and message.refusal is None:
                self._task = self._server.loop.create_task(self._answer(message, message.exchange))
            else:
                assert message.refusal is not None
                self._write(message, message.refusal)
        if self._is_paused and len(self._waiting) <= _MOST_PIPELINED // 2:
            self._is_paused = False
            self._transport.resume_reading()

    async def _answer(self, message: _Message, exchange: Exchange) -> None:
        try:
            response = await exchange.answer()
        except BaseException:
            self._transport.abort()
            raise
        self._task = None
        self._write(message, response)
        self._next()

    def _write(self, message: _Message, response: Response) -> None:
        self._current = None
        if self._transport.is_closing():
            return
        stays = message.keep_alive and not self._server.is_closing
        connection = ("keep-alive" if message.is_http_1_0 else "") if stays else "close"
        self._since = self._server.now
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
            if message.exchange is not None and message.refusal is None:
                message.exchange.abandon()
        self._waiting.clear()
        if self._is_reading and self._transport.can_write_eof():
            self._is_lingering = True
            self._transport.write_eof()
        else:
            self._transport.close()

    # --- refusing ------------------------------------------------------------------------------------------------

    def _refuse(self, error: IngrainError) -> None:
        """Answer what is no request, after the requests before it."""
        if self._is_lingering:
            return
        self._is_lingering = True
        if self._incoming is not None and self._incoming.exchange is not None:
            message, exchange = self._incoming, self._incoming.exchange
            message.refusal = exchange.refuse(error)
        else:
            message = _Message(Request("", ""), keep_alive=False, is_http_1_0=False)
            message.refusal = self._server.application.refuse(error)
        message.keep_alive = False
        self._incoming = None
        self._enqueue(message)

    def _refuse_body(self, message: _Message, refusal: Response) -> None:
        """Answer a request before its body has come; a body of some size is not waited for."""
        message.refusal = refusal
        if message.request.headers.get(b"transfer-encoding") or _announced(message.request) > _READ_BYTES:
            message.keep_alive = False
            self._incoming = None
            self._is_lingering = True
            self._enqueue(message)
        # Else it is answered when the short body, which must be read anyway, has come.

    def _too_large(self) -> TooLargeError:
        limit = self._limits.max_body_bytes
        return TooLargeError(
            f"The body is larger than {limit} bytes, the limit of this server (INGRAIN_MAX_BODY_BYTES).",
            facts={"limit": limit},
        )

    # --- time ----------------------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Look at the clock: end what has waited for the caller too long."""
        age = self._server.now - self._since
        if self._is_blocked:
            if age > self._limits.read_timeout_s:
                self._transport.abort()
        elif self._current is not None or self._waiting:
            pass  # the answer's own deadline holds
        elif self._is_lingering:
            if age > _LINGER_S:
                self._transport.abort()
        elif self._is_reading:
            if age > self._limits.read_timeout_s:
                self._refuse(
                    DeadlineExceededError(
                        f"The request did not arrive within {self._limits.read_timeout_s:g} s "
                        "(INGRAIN_REQUEST_TIMEOUT_S)."
                    )
                )
        elif age > self._limits.keep_alive_s:
            self._transport.close()

    def finish(self) -> None:
        """Close when nothing is being answered, or else after the answer."""
        if self._current is None and not self._waiting:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()


def _request(method: bytes, url: bytes, headers: dict[bytes, bytes]) -> Request:
    if not url.startswith(b"/"):
        parsed = httptools.parse_url(url) if b"://" in url else None
        url = (parsed.path or b"/") + (b"?" + parsed.query if parsed.query else b"") if parsed else url
    path, _, query = url.decode("latin-1").partition("?")
    if "%" in path:
        path = urllib.parse.unquote(path)
    return Request(method.decode("ascii"), path, query.partition("#")[0], headers)


def _announced(request: Request) -> int:
    return int(request.headers.get(b"content-length", b"0"))
