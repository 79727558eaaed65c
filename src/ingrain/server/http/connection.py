"""Serves one client connection: parses requests and answers them in order."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import cast

from ingrain.errors import IngrainError
from ingrain.server.http.application import Exchange, Started
from ingrain.server.http.incoming import IncomingRequest, announced_length
from ingrain.server.http.interfaces import ConnectionHost
from ingrain.server.http.message import Request, Response, StreamedResponse
from ingrain.server.http.parser import RequestParser
from ingrain.server.http.refusals import body_too_large, too_slow
from ingrain.server.http.writer import ResponseWriter

_MOST_PIPELINED = 16
_SHORT_BODY = 262_144
_NOT_COUNTED = 16_384  # bodies that arrive whole with their head and are no larger are not counted in the budget
_LINGER_S = 2.0
_LEAST_BYTES_PER_S = 16_384
_PACED_BODY = 1_048_576  # the rest of a larger body is read at the pace of all such bodies
_SHORTEST_REST_S = 0.001

log = logging.getLogger("ingrain.server")


class Connection(asyncio.Protocol):
    """Parses requests, passes them to the application, and writes each response in one call.

    When the client disconnects, its requests are cancelled. When a request is refused before its whole body has
    arrived, the connection goes on reading for a moment ("lingers"): if it closed at once, the operating system would
    send a reset, and the client might lose the response.

    Args:
        host: Application, limits and clock; lives longer than the connection.
    """

    def __init__(self, host: ConnectionHost) -> None:
        self._host = host
        self._bodies = host.bodies
        self._parser = RequestParser(self, host.limits.max_header_bytes)
        self._transport: asyncio.Transport
        self._writer: ResponseWriter
        self._unparsed = b""
        self._piece: bytes | None = None
        self._has_last = False
        self._waiting: deque[IncomingRequest] = deque()
        self._incoming: IncomingRequest | None = None
        self._current: IncomingRequest | None = None
        self._task: asyncio.Task[None] | None = None
        self._idle_since = self._began_at = host.now
        self._is_reading = False
        self._is_paused = False
        self._is_lingering = False
        self._is_resting = False
        self._answered_at_once = 0
        self._will_go_on: asyncio.Handle | None = None

    # --- called by the transport ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register with the host."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transport is not a subclass
        self._writer = ResponseWriter(self._transport, self._host)
        self._host.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the client's requests."""
        del exc
        self._host.forget(self)
        self._is_lingering = True
        if self._task is not None:
            self._task.cancel()
        for message in (*self._waiting, self._current, self._incoming):
            if message is not None:
                message.abandon()
                message.release(self._bodies)
        # Free the bodies now, before the garbage collector finds the reference cycle of connection and parser.
        self._waiting.clear()
        self._incoming = self._current = self._task = None
        self._unparsed = b""
        self._parser.close()

    def data_received(self, data: bytes) -> None:
        """Parse received bytes."""
        if self._is_lingering:
            self._rest(len(data))
            return
        if self._unparsed:
            self._unparsed += data
            self._parse()
        elif self._is_reading or self._has_last or not self._take_known(data):
            self._piece, self._unparsed = (None if self._is_reading else data), data
            self._parse()
            self._piece = None
            if self._incoming is not None and self._incoming.size > _PACED_BODY:
                self._rest(len(data))

    def pause_writing(self) -> None:
        """Start no more requests, and send no more of a stream, because the client does not read its responses."""
        self._writer.pause()

    def resume_writing(self) -> None:
        """Continue with queued requests in the loop's next turn: asyncio's own transports may not be closed now."""
        self._writer.resume()
        self._go_on_soon()

    # --- reading -------------------------------------------------------------------------------------------------

    def _take_known(self, data: bytes) -> bool:
        """Skip the parser if the bytes are one whole request with a cached head; return whether they were."""
        request = self._host.known_heads.find(data)
        if request is None or len(self._waiting) >= _MOST_PIPELINED:
            return False
        size = len(request.body)
        if size > _NOT_COUNTED and not self._bodies.has_room(size):
            return False
        message = IncomingRequest(request, keep_alive=True)
        if size > _NOT_COUNTED:
            message.hold(self._bodies, size)
        begun = self._host.application.begin(request)
        if isinstance(begun, Response):
            message.refusal = begun
        else:
            message.exchange = begun
        self._waiting.append(message)
        self._next()
        return True

    def _parse(self) -> None:
        """Parse slice by slice; pause if too many requests are queued or were answered since the loop's last turn."""
        self._answered_at_once = 0
        while self._unparsed and not self._is_lingering and len(self._waiting) < _MOST_PIPELINED:
            if self._answered_at_once >= _MOST_PIPELINED:  # let the event loop serve other connections
                self._go_on_soon()
                break
            size = self._parser.next_size()
            piece, self._unparsed = self._unparsed[:size], self._unparsed[size:]
            try:
                if rest := self._parser.feed(piece):
                    self._unparsed = rest + self._unparsed
            except IngrainError as error:
                self._refuse(error)
        if self._is_lingering:
            self._unparsed = b""
        self._pause_or_resume()

    def _go_on_soon(self) -> None:
        if self._will_go_on is None:
            self._will_go_on = self._host.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._will_go_on = None
        self._next()
        self._parse()

    def _rest(self, size: int) -> None:
        """Read no more of a large body until its pace allows it."""
        pause_s = self._bodies.pause_s(size, self._host.loop.time())
        if pause_s > _SHORTEST_REST_S and not self._is_resting:
            self._is_resting = True
            self._host.loop.call_later(pause_s, self._read_on)
            self._pause_or_resume()

    def _read_on(self) -> None:
        self._is_resting = False
        self._pause_or_resume()

    def _pause_or_resume(self) -> None:
        must_pause = bool(self._unparsed) or self._is_resting
        if must_pause != self._is_paused and not self._transport.is_closing():
            self._is_paused = must_pause
            if must_pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    # --- called by the parser ------------------------------------------------------------------------------------

    def request_started(self) -> None:
        """Start the read timeout of a request."""
        self._is_reading = True
        self._began_at = self._host.now

    def head_parsed(self, message: IncomingRequest) -> None:
        """Ask the application whether it accepts the request."""
        if self._is_lingering:
            return
        self._incoming = message
        begun: Exchange | Response
        admitted = self._host.application.admit(message.request)
        if isinstance(admitted, Response):
            begun, message.may_be_cached = admitted, False
        else:
            message.added_headers, message.may_be_cached = admitted, not admitted
            begun = self._host.application.begin(message.request)
        if isinstance(begun, Response):
            self._refuse_body(message, begun, at_once=message.expects_continue)
            return
        message.exchange = begun
        length = announced_length(message.request)
        if length > begun.body_limit.max_bytes:
            self._refuse_body(message, begun.refuse(body_too_large(begun.body_limit)), at_once=True)
        elif not self._bodies.has_room(length):
            self._refuse_body(message, begun.refuse(self._bodies.full()), at_once=True)
        elif message.expects_continue:
            self._send_continue()

    def body_parsed(self, piece: bytes) -> None:
        """Add a piece of the body, unless the request was refused."""
        message = self._incoming
        if message is None or message.exchange is None or message.refusal is not None or self._is_lingering:
            return
        message.size += len(piece)
        limit = message.exchange.body_limit
        if message.size > limit.max_bytes:
            self._refuse_body(message, message.exchange.refuse(body_too_large(limit)), at_once=True)
        elif not self._bodies.has_room(len(piece)):
            self._refuse_body(message, message.exchange.refuse(self._bodies.full()), at_once=True)
        else:
            message.hold(self._bodies, len(piece))
            message.add(piece)

    def request_parsed(self) -> None:
        """Queue the complete request."""
        message, self._incoming = self._incoming, None
        if message is None:
            return
        self._is_reading = False
        self._has_last = self._has_last or not message.keep_alive
        message.close_body()
        if self._piece is not None:
            self._host.known_heads.learn(self._piece, message)
        self._waiting.append(message)
        self._next()

    # --- answering -----------------------------------------------------------------------------------------------

    def _next(self) -> None:
        """Start queued requests one after the other, unless the client does not read its responses."""
        while (
            self._waiting and self._current is None and not self._writer.is_blocked and not self._transport.is_closing()
        ):
            message = self._current = self._waiting.popleft()
            if message.refusal is not None:
                self._write(message, message.refusal)
            else:
                assert message.exchange is not None
                try:
                    started = message.exchange.start(self._deliver)
                except BaseException:  # e.g. a panic in a Rust library; the calling code must go on
                    log.exception("Starting a request failed")
                    self._transport.abort()
                    return
                if started is Started.NEEDS_A_TASK:
                    self._task = self._host.loop.create_task(self._answer(message, message.exchange))
                elif started is not Started.WILL_BE_DELIVERED:
                    self._answered_at_once += 1
                    self._write(message, started)
        if self._incoming is not None:
            self._send_continue()

    def _deliver(self, response: Response) -> None:
        """Write the response to the current request, then continue with queued requests and unparsed bytes."""
        assert self._current is not None
        self._write(self._current, response)
        if self._waiting or self._incoming is not None:
            self._next()
        if self._unparsed:
            self._parse()

    async def _answer(self, message: IncomingRequest, exchange: Exchange) -> None:
        message.is_begun = True  # set here, as a task that is cancelled before its first step never gets here
        try:
            response = await exchange.answer()
            if isinstance(response, StreamedResponse):
                message.release(self._bodies)
                message.keep_alive = await self._writer.stream(message, response) and message.keep_alive
        except BaseException:  # disconnect, or the client would wait for ever
            if self._current is message:  # else it was answered by ``give_up``
                self._transport.abort()
            raise
        self._task = None
        self._deliver(response)

    def _send_continue(self) -> None:
        """Send ``100 Continue`` if the client waits for it and all earlier requests are answered."""
        message = self._incoming
        if message is not None and message.expects_continue and self._current is None and not self._waiting:
            message.expects_continue = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _write(self, message: IncomingRequest, response: Response) -> None:
        self._current = None
        message.release(self._bodies)
        if self._transport.is_closing():
            return
        self._idle_since = self._host.now
        if not isinstance(response, StreamedResponse):  # which was written already
            self._writer.write(message, response)
        if not message.keep_alive or self._host.is_closing:
            self._hang_up()

    def _hang_up(self) -> None:
        """Close after the written bytes are sent; linger if the client is still sending."""
        for message in (*self._waiting, self._incoming):
            if message is not None:
                message.abandon()
                message.release(self._bodies)
        self._waiting.clear()
        self._incoming = None
        must_linger = self._is_reading or bool(self._unparsed)
        self._is_lingering, self._unparsed = True, b""
        if not must_linger:
            self._transport.close()
            return
        self._pause_or_resume()
        if self._transport.can_write_eof():  # not over TLS, where the client has to close after the response
            try:
                self._transport.write_eof()
            except OSError:
                self._transport.abort()

    # --- refusing ------------------------------------------------------------------------------------------------

    def _refuse(self, error: IngrainError) -> None:
        """Answer an invalid or incomplete request after the requests before it, then close."""
        if self._is_lingering:
            return
        message, self._incoming = self._incoming, None
        if message is None or message.exchange is None:
            message = IncomingRequest(Request("", ""), refusal=self._host.application.refuse(error))
        elif message.refusal is None:
            message.refusal = message.exchange.refuse(error)
        self._enqueue_last(message)

    def _refuse_body(self, message: IncomingRequest, refusal: Response, *, at_once: bool) -> None:
        """Refuse a request by its head: read a short body first and keep the connection, or else answer and close."""
        message.refusal = refusal
        is_chunked = bool(message.request.headers.get(b"transfer-encoding"))
        if at_once or is_chunked or announced_length(message.request) > _SHORT_BODY:
            self._incoming = None
            self._enqueue_last(message)

    def _enqueue_last(self, message: IncomingRequest) -> None:
        message.keep_alive = False
        message.drop_body()
        message.release(self._bodies)
        self._is_lingering = True
        self._idle_since = self._host.now
        self._waiting.append(message)
        self._next()

    # --- time ----------------------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Close the connection if a timeout has passed."""
        now, limit_s = self._host.now, self._host.limits.read_timeout_s
        if self._writer.is_blocked or (self._transport.is_closing() and self._current is None):
            if self._writer.has_stalled(self._idle_since, limit_s):
                self._transport.abort()
        elif self._current is not None or self._waiting:
            pass  # the application enforces the deadline of the request
        elif self._is_lingering:
            if now - self._idle_since > _LINGER_S:
                self._transport.abort()
        elif self._is_reading:
            size = self._incoming.size if self._incoming is not None else 0
            if now - self._began_at > limit_s + size / _LEAST_BYTES_PER_S:
                self._refuse(too_slow(limit_s))
        elif now - self._idle_since > self._host.limits.keep_alive_s:
            self._transport.close()

    def finish(self) -> None:
        """Close an idle connection now, any other after its response."""
        if self._current is None and not self._waiting and self._incoming is None:
            self._transport.close()

    def give_up(self, error: IngrainError) -> None:
        """Answer the request in progress, or the one that is arriving, with an error; close after it."""
        message = self._current
        if message is None:
            self._refuse(error)
        elif message.exchange is not None:
            task, self._task = self._task, None
            refusal = message.exchange.refuse(error)
            if not self._writer.is_streaming:
                self._write(message, refusal)
            else:  # the end of the body is missing, which the client notices
                self._current = None
                self._hang_up()
            if task is not None:
                task.cancel()

    def abort(self) -> None:
        """Close now."""
        self._transport.abort()
