"""A TCP proxy whose connections can be held, delayed, cut and corrupted."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct

_CHUNK_BYTES = 65536
_FRAME_HEAD_BYTES = 9
"""Length of the head of an HTTP/2 frame, with which most chunks begin."""


class Proxy:
    """Forwards connections from a port of the loopback to another one.

    Args:
        target_port: Port to which connections are forwarded.
        rng: Chooses the bits that are flipped.

    Attributes:
        port: Port on which the proxy listens, once it has been started.
        delay_s: Seconds by which each chunk is delayed, in both directions.
        flips: Part of the chunks in which one bit is flipped.
        only_heads: Whether bits are flipped in the first bytes of a chunk alone.
        refuses: Whether new connections are closed at once.
    """

    def __init__(self, target_port: int, rng: random.Random) -> None:
        self.port = 0
        self.delay_s = 0.0
        self.flips = 0.0
        self.only_heads = True
        self.refuses = False
        self._target_port = target_port
        self._rng = rng
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Close the port and cut all connections."""
        assert self._server is not None
        self._server.close()
        self.cut()

    def hold(self) -> None:
        """Forward nothing until ``release``, neither on open connections nor on new ones."""
        self._flowing.clear()

    def release(self) -> None:
        """Forward again, beginning with what was held."""
        self._flowing.set()

    def hold_open_ones(self) -> None:
        """Never forward anything again on the connections that are open now; new ones work."""
        for connection in self._connections:
            connection.is_silent = True

    def cut(self) -> None:
        """Reset all connections."""
        for connection in list(self._connections):
            connection.reset()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.refuses:
                raise ConnectionRefusedError
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection(writer, far_writer)
        self._connections.add(connection)
        pumps = [
            asyncio.create_task(self._pump(connection, reader, far_writer)),
            asyncio.create_task(self._pump(connection, far_reader, writer)),
        ]
        try:
            await asyncio.wait(pumps)
        finally:
            for pump in pumps:
                pump.cancel()
            self._connections.discard(connection)
            connection.reset()

    async def _pump(self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                await self._flowing.wait()
                if connection.is_silent:
                    continue
                writer.write(self._corrupt(data) if self._rng.random() < self.flips else data)
                await writer.drain()
            if not connection.is_silent:
                writer.close()

    def _corrupt(self, data: bytes) -> bytes:
        changed = bytearray(data)
        bits = 8 * min(len(data), _FRAME_HEAD_BYTES if self.only_heads else len(data))
        bit = self._rng.randrange(bits)
        changed[bit // 8] ^= 1 << bit % 8
        return bytes(changed)


class _Connection:
    """The two sockets of a forwarded connection."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.is_silent = False
        self._writers = (near, far)

    def reset(self) -> None:
        for writer in self._writers:
            opened: socket.socket | None = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):  # closed already
                if opened is not None:
                    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
