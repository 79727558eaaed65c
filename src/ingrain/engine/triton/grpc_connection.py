"""An HTTP/2 connection for the calls of one unary gRPC method."""

from __future__ import annotations

import asyncio
import urllib.parse
from collections.abc import Callable
from typing import cast

from grpc import StatusCode

from ingrain.engine.triton import http2
from ingrain.engine.triton.http2 import Kind, Setting

_CODES = {code.value[0]: code for code in StatusCode}
# gRPC status for an HTTP/2 error code in RST_STREAM (RFC 9113, 7); any other code is INTERNAL.
_RESET_CODES = {7: StatusCode.UNAVAILABLE, 8: StatusCode.CANCELLED, 11: StatusCode.RESOURCE_EXHAUSTED}
_CANCEL = (8).to_bytes(4, "big")
# gRPC status for an HTTP status from a proxy.
_HTTP_CODES = {
    "400": StatusCode.INTERNAL,
    "401": StatusCode.UNAUTHENTICATED,
    "403": StatusCode.PERMISSION_DENIED,
    "404": StatusCode.UNIMPLEMENTED,
    "429": StatusCode.UNAVAILABLE,
    "502": StatusCode.UNAVAILABLE,
    "503": StatusCode.UNAVAILABLE,
    "504": StatusCode.UNAVAILABLE,
}
_PREFIX = 5
_REPLENISH = 1 << 30


class CallError(Exception):
    """A call that failed.

    Attributes:
        code: gRPC's status.
        details: The server's message, for the log.
    """

    def __init__(self, code: StatusCode, details: str = "") -> None:
        super().__init__(f"{code.name}: {details}")
        self.code = code
        self.details = details


class _Call:
    """State of a call in progress."""

    __slots__ = ("answer", "failure", "is_ended", "pieces", "unsent", "window")

    def __init__(self, answer: asyncio.Future[bytes], window: int) -> None:
        self.answer = answer
        self.window = window
        self.pieces: list[bytes] = []
        self.unsent = memoryview(b"")
        self.failure: CallError | None = None
        self.is_ended = False


class GrpcConnection(asyncio.Protocol):
    """Runs any number of concurrent calls on one connection.

    Args:
        authority: Value of the ``:authority`` header.
        path: The method, ``/package.Service/Method``.
        on_retired: Called once, when the connection takes no more calls: the server is closing it, it is lost, or it
            has no stream ids left.

    Attributes:
        is_retired: Whether the connection takes no more calls.
    """

    def __init__(self, authority: str, path: str, on_retired: Callable[[GrpcConnection], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._headers = http2.encode_headers(
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", path),
                (":authority", authority),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
                ("user-agent", "ingrain"),
            ]
        )
        self._on_retired = on_retired
        self._transport: asyncio.Transport
        self._reader = http2.FrameReader()
        self._calls: dict[int, _Call] = {}
        self._next = 1
        self.is_retired = False
        self._window = http2.DEFAULT_WINDOW
        self._stream_window = http2.DEFAULT_WINDOW
        self._largest_frame = http2.DEFAULT_FRAME
        self._received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the connection preface."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(http2.greeting())

    async def call(self, message: bytes, timeout_s: float | None) -> bytes:
        """Send a serialized request and return the serialized response. Cancellation of the caller cancels the call.

        Args:
            message: The request.
            timeout_s: Seconds to wait; None for no limit.

        Raises:
            CallError: The server returned an error, is gone, or did not respond in time.
        """
        stream = self._next
        self._next += 2
        if self._next > http2.LAST_STREAM:
            self._retire()
        call = self._calls[stream] = _Call(self._loop.create_future(), self._stream_window)
        timer = None if timeout_s is None else self._loop.call_later(timeout_s, self._expire, call)
        self._begin(stream, call, message)
        try:
            return await call.answer
        finally:
            del self._calls[stream]
            if timer is not None:
                timer.cancel()
            if not call.is_ended and not self._transport.is_closing():
                self._transport.write(http2.frame(Kind.RST_STREAM, 0, stream, _CANCEL))
            if self.is_retired and not self._calls:
                self._transport.close()

    def _begin(self, stream: int, call: _Call, message: bytes) -> None:
        head = http2.frame(Kind.HEADERS, http2.END_HEADERS, stream, self._headers)
        body = b"\0" + len(message).to_bytes(4, "big") + message
        call.unsent = memoryview(body)
        if len(body) <= min(self._largest_frame, self._window, call.window):
            # The usual case takes a single write and a single copy.
            self._transport.write(b"".join((head, *self._next_frame(stream, call))))
        else:
            self._transport.write(head)
            self._send(stream, call)

    def _send(self, stream: int, call: _Call) -> None:
        """Send as much of the message as the flow-control windows allow."""
        while call.unsent and min(self._window, call.window) > 0:
            self._transport.write(b"".join(self._next_frame(stream, call)))

    def _next_frame(self, stream: int, call: _Call) -> tuple[bytes, memoryview]:
        size = min(self._largest_frame, self._window, call.window, len(call.unsent))
        payload, call.unsent = call.unsent[:size], call.unsent[size:]
        self._window -= size
        call.window -= size
        return http2.frame_head(Kind.DATA, 0 if call.unsent else http2.END_STREAM, stream, size), payload

    def data_received(self, data: bytes) -> None:
        """Handle bytes from the server."""
        try:
            for kind, flags, stream, payload in self._reader.feed(data):
                self._take(kind, flags, stream, payload)
        except http2.Http2Error as error:
            self._lose(CallError(StatusCode.UNAVAILABLE, f"the server violated HTTP/2: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail all calls in progress."""
        del exc
        self._lose(CallError(StatusCode.UNAVAILABLE, "the connection was lost"))

    def close(self) -> None:
        """Cancel all calls and close the connection."""
        self._lose(CallError(StatusCode.CANCELLED, "the channel was closed"))

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == Kind.DATA:
            self._take_data(stream, payload)
            if flags & http2.END_STREAM:
                self._end(stream, {})
        elif kind == Kind.HEADERS:
            self._take_headers(stream, http2.decode_headers(payload), is_last=bool(flags & http2.END_STREAM))
        elif kind == Kind.WINDOW_UPDATE:
            self._widen(stream, http2.number(payload))
        elif kind == Kind.SETTINGS and not flags & http2.ACK:
            self._configure(payload)
        elif kind == Kind.PING and not flags & http2.ACK:
            self._transport.write(http2.frame(Kind.PING, http2.ACK, 0, payload))
        elif kind == Kind.RST_STREAM:
            code = _RESET_CODES.get(http2.number(payload), StatusCode.INTERNAL)
            self._fail(stream, CallError(code, "the server reset the call"))
        elif kind == Kind.GOAWAY:
            self._retire()
            for unseen in [other for other in self._calls if other > http2.number(payload)]:
                self._fail(unseen, CallError(StatusCode.UNAVAILABLE, "the server is shutting down"))
        elif kind == Kind.PUSH_PROMISE:
            raise http2.Http2Error("a PUSH_PROMISE, although the client has disabled push")

    def _take_data(self, stream: int, payload: bytes) -> None:
        self._received += len(payload)
        if self._received >= _REPLENISH:
            self._transport.write(http2.window_update(self._received))
            self._received = 0
        call = self._calls.get(stream)
        if call is not None:
            call.pieces.append(payload)

    def _take_headers(self, stream: int, headers: dict[str, str], *, is_last: bool) -> None:
        status = headers.get(":status", "200")
        call = self._calls.get(stream)
        if status != "200" and call is not None:
            code = _HTTP_CODES.get(status, StatusCode.UNKNOWN)
            call.failure = CallError(code, f"the server answered with HTTP status {status}")
        if is_last:
            self._end(stream, headers)

    def _end(self, stream: int, trailers: dict[str, str]) -> None:
        call = self._calls.get(stream)
        if call is None or call.answer.done():
            return
        call.is_ended = True
        try:
            call.answer.set_result(_message(call, trailers))
        except CallError as error:
            call.answer.set_exception(error)

    def _fail(self, stream: int, error: CallError) -> None:
        """Fail a call that the server has ended."""
        call = self._calls.get(stream)
        if call is not None and not call.answer.done():
            call.is_ended = True
            call.answer.set_exception(error)

    def _expire(self, call: _Call) -> None:
        if not call.answer.done():
            call.answer.set_exception(CallError(StatusCode.DEADLINE_EXCEEDED))

    def _widen(self, stream: int, increment: int) -> None:
        if stream == 0:
            self._window += increment
            for other, call in self._calls.items():
                self._send(other, call)
        elif stream in self._calls:
            self._calls[stream].window += increment
            self._send(stream, self._calls[stream])

    def _configure(self, payload: bytes) -> None:
        for key, value in http2.read_settings(payload):
            if key == Setting.MAX_FRAME_SIZE:
                self._largest_frame = value
            elif key == Setting.INITIAL_WINDOW_SIZE:
                change, self._stream_window = value - self._stream_window, value
                for stream, call in self._calls.items():
                    call.window += change
                    self._send(stream, call)
        self._transport.write(http2.frame(Kind.SETTINGS, http2.ACK, 0))

    def _retire(self) -> None:
        if not self.is_retired:
            self.is_retired = True
            self._on_retired(self)
            if not self._calls:
                self._transport.close()

    def _lose(self, error: CallError) -> None:
        self._retire()
        for stream in self._calls:
            self._fail(stream, error)
        self._transport.abort()


def _message(call: _Call, trailers: dict[str, str]) -> bytes:
    status = trailers.get("grpc-status")
    if status is None:
        raise call.failure or CallError(StatusCode.UNKNOWN, "the response has no grpc-status")
    if status != "0":
        code = _CODES.get(int(status), StatusCode.UNKNOWN) if status.isdecimal() else StatusCode.UNKNOWN
        raise CallError(code, urllib.parse.unquote(trailers.get("grpc-message", "")))
    body = call.pieces[0] if len(call.pieces) == 1 else b"".join(call.pieces)
    if len(body) < _PREFIX or body[0] or int.from_bytes(body[1:_PREFIX], "big") != len(body) - _PREFIX:
        raise CallError(StatusCode.INTERNAL, "the response is not a single uncompressed message")
    return body[_PREFIX:]
