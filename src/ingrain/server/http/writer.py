"""Writes responses to a connection, those that are streamed as fast as the client reads them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from ingrain.server.http.incoming import IncomingRequest
from ingrain.server.http.interfaces import ConnectionHost
from ingrain.server.http.message import Response, StreamedResponse, encode_head

_LARGE_BODY = 65_536  # copying a larger body behind its head takes longer than another buffer in the call
_CHUNKED = "transfer-encoding: chunked\r\n"

log = logging.getLogger("ingrain.server")


class ResponseWriter:
    """Writes the responses of one connection, one after the other.

    Attributes:
        is_blocked: Whether the client does not read what was written.
        is_streaming: Whether the head of a streamed response was written, but not yet the end of its body.

    Args:
        transport: The connection.
        host: Has clock and date.
    """

    def __init__(self, transport: asyncio.Transport, host: ConnectionHost) -> None:
        self.is_blocked = False
        self.is_streaming = False
        self._transport = transport
        self._host = host
        self._blocked_since = host.now
        self._buffered = 0
        self._room: asyncio.Future[None] | None = None

    def pause(self) -> None:
        """Ask a stream for no more pieces, because the client does not read what was written."""
        self.is_blocked = True
        self._blocked_since = self._host.now
        self._buffered = self._transport.get_write_buffer_size()
        if self.is_streaming:
            self._room = self._host.loop.create_future()

    def resume(self) -> None:
        """Continue a stream, because the client has read most of what was written."""
        self.is_blocked = False
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def has_stalled(self, idle_since: float, limit_s: float) -> bool:
        """Return whether the client has read nothing for so many seconds; called about once a second.

        Args:
            idle_since: Time at which the last response was complete.
            limit_s: Limit in seconds.
        """
        left = self._transport.get_write_buffer_size()
        if left < self._buffered:
            self._blocked_since = self._host.now
        self._buffered = left
        return self._host.now - max(self._blocked_since, idle_since) > limit_s

    def write(self, message: IncomingRequest, response: Response) -> None:
        """Write a response in one call."""
        head = self._head(message, response)
        if message.request.method == "HEAD":
            self._transport.write(head)
        elif len(response.body) > _LARGE_BODY:
            self._transport.writelines((head, response.body))
        else:
            self._transport.write(head + response.body)
        if response.on_written is not None:
            response.on_written()

    async def stream(self, message: IncomingRequest, response: StreamedResponse) -> bool:
        """Write a response piece by piece; return False if an exception has cut its body off.

        The body is written in chunks. To HTTP/1.0 the end of the connection is the end of the body.
        """
        is_chunked = not message.is_http_1_0
        message.keep_alive = message.keep_alive and is_chunked
        is_whole, self.is_streaming = False, True
        self._transport.write(self._head(message, response, _CHUNKED if is_chunked else ""))
        try:
            if message.request.method != "HEAD":
                await self._write_pieces(response.pieces, is_chunked=is_chunked)
            is_whole = True
        except Exception:  # the client has the head, so that a body without its end is all that can tell it
            log.exception("The response to request %s was cut off", response.headers.get("x-request-id"))
        finally:
            self.is_streaming, self._room = False, None
            response.on_end(is_whole)
        return is_whole

    async def _write_pieces(self, pieces: AsyncGenerator[bytes, None], *, is_chunked: bool) -> None:
        async with aclosing(pieces):
            async for piece in pieces:
                if piece:  # an empty chunk would be the end of the body
                    self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
                if self._room is not None:
                    await self._room
        if is_chunked:
            self._transport.write(b"0\r\n\r\n")

    def _head(self, message: IncomingRequest, response: Response, framing: str | None = None) -> bytes:
        stays = message.keep_alive and not self._host.is_closing
        connection = ("keep-alive" if message.is_http_1_0 else "") if stays else "close"
        if message.added_headers:
            response = msgspec.structs.replace(response, headers={**response.headers, **message.added_headers})
        return encode_head(response, date=self._host.date, connection=connection, framing=framing)
