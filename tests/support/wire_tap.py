"""A proxy between a client and a server that remembers what passed, and cuts connections when told to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit


class WireTap:
    """Listens on 127.0.0.1 while it is entered, and hands on to a server, byte for byte.

    Args:
        server_url: The server; none where ``answer`` is given.
        answer: What is answered to everything instead.

    Attributes:
        sent: All that clients sent.
        connections: How many were accepted.
        most_waiting: Most connections whose client waited for an answer at the same time.
        change: Makes of an answer, by its number from 1 on and its bytes, what is handed on instead.
        change_sent: Makes of what a client sent what is handed on instead.
        cut: Tells by the number of an answer, from 1 on, whether it is cut off in the middle.
        is_down: While True, every connection is closed at once, as by a machine without a server.
        is_frozen: While True, nothing is forwarded on new connections.
    """

    def __init__(self, server_url: str = "", *, answer: bytes | None = None) -> None:
        self.server_url = server_url
        self.answer = answer
        self.sent = bytearray()
        self.connections = 0
        self.most_waiting = 0
        self.cut: Callable[[int], bool] = lambda number: False
        self.change: Callable[[int, bytes], bytes] = lambda number, data: data
        self.change_sent: Callable[[bytes], bytes] = lambda data: data
        self.is_down = False
        self.is_frozen = False
        self._flows: set[asyncio.Event] = set()
        self._answers = 0
        self._waiting: set[object] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> WireTap:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def count(self, words: bytes) -> int:
        """Return how often clients sent these bytes."""
        return bytes(self.sent).count(words)

    def freeze(self) -> None:
        """Forward nothing more on the connections that are open now, and keep them open. New ones work."""
        for flow in self._flows:
            flow.clear()

    def thaw(self) -> None:
        """Forward on all connections again, beginning with what has piled up."""
        for flow in self._flows:
            flow.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._connect(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        async with _closing(writer):
            if self.is_down:
                return
            if self.answer is not None:
                while await reader.read(1 << 16):
                    writer.write(self.answer)
                return
            parts = urlsplit(self.server_url)
            back_reader, back_writer = await asyncio.open_connection(parts.hostname, parts.port)
            async with _closing(back_writer):
                flow = asyncio.Event()
                if not self.is_frozen:
                    flow.set()
                self._flows.add(flow)
                there = asyncio.ensure_future(self._carry_requests(reader, back_writer, writer, flow))
                back = asyncio.ensure_future(self._carry_answers(back_reader, writer, flow))
                await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
                self._waiting.discard(writer)
                self._flows.discard(flow)
                for task in (there, back):
                    task.cancel()
                await asyncio.gather(there, back, return_exceptions=True)

    async def _carry_requests(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        caller: asyncio.StreamWriter,
        flow: asyncio.Event,
    ) -> None:
        while data := await reader.read(1 << 16):
            await flow.wait()
            self.sent += data
            self._waiting.add(caller)
            self.most_waiting = max(self.most_waiting, len(self._waiting))
            writer.write(self.change_sent(data))

    async def _carry_answers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flow: asyncio.Event
    ) -> None:
        while data := await reader.read(1 << 16):
            await flow.wait()
            self._answers += 1
            self._waiting.discard(writer)
            if self.is_down or self.cut(self._answers):
                writer.write(data[: len(data) // 2])
                return
            writer.write(self.change(self._answers, data))


@contextlib.asynccontextmanager
async def _closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    try:
        yield
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
