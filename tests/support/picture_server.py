"""A host on loopback that serves pictures as badly as hosts can, and counts who came."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType

Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Hit:
    """One request as it arrived: its target and its header fields, names in lower case."""

    target: str
    headers: dict[str, str]


@dataclass(slots=True)
class PictureServer:
    """Listens on 127.0.0.1 while it is entered.

    Attributes:
        replies: What each path answers; any other is answered with 404.
        tls: Speaks TLS if given.
        hits: Requests in the order they came.
        connections: Connections accepted, also those that never sent a request.
        port: Where it listens.
    """

    replies: dict[str, Reply] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    hits: list[Hit] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    _server: asyncio.Server | None = None
    _open: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> PictureServer:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def url(self, path: str = "/") -> str:
        """Return the URL of a path on this server."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}{path}"

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            request, *lines = head.rstrip("\r\n").split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines)
            target = request.split(" ")[1]
            self.hits.append(Hit(target, {name.lower(): value for name, value in headers.items()}))
            reply = self.replies.get(target.partition("?")[0], answer(b"", status=404))
            await reply(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client went away: most of these answers are made for that
        finally:
            writer.close()


def answer(body: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    """Answer as a decent host does."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        await _head(writer, status, {"Content-Length": str(len(body)), **(headers or {})})
        writer.write(body)
        await writer.drain()

    return reply


def redirect(location: str, status: int = 302) -> Reply:
    """Send the client somewhere else."""
    return answer(b"", status=status, headers={"Location": location})


def slow_drip(body: bytes, pause_s: float) -> Reply:
    """Send one byte at a time, so that no single read is ever late."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        await _head(writer, 200, {"Content-Length": str(len(body))})
        for byte in body:
            writer.write(bytes((byte,)))
            await writer.drain()
            await asyncio.sleep(pause_s)

    return reply


def silence() -> Reply:
    """Take the request and say nothing."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        del writer
        await asyncio.sleep(3600)

    return reply


def endless_chunks() -> Reply:
    """Send a chunked body that never ends."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        await _head(writer, 200, {"Transfer-Encoding": "chunked"})
        while True:
            writer.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
            await writer.drain()

    return reply


def endless_interim_answers(status: int) -> Reply:
    """Send answers that precede the answer, and never that."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"HTTP/1.1 %d Word\r\n\r\n" % status * 1000)
            await writer.drain()

    return reply


def tiny_chunks() -> Reply:
    """Send a body in chunks of one byte that never end, thousands of them at a time."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        await _head(writer, 200, {"Transfer-Encoding": "chunked"})
        while True:
            writer.write(b"1\r\na\r\n" * 10_000)
            await writer.drain()

    return reply


def endless_headers() -> Reply:
    """Send header fields that never end."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X-More: " + b"a" * 4096 + b"\r\n")
            await writer.drain()

    return reply


def gzip_bomb(unpacked_bytes: int) -> Reply:
    """Send a small body that unpacks to a large one: gzip allows one file after the other."""
    block = 1 << 20
    return answer(gzip.compress(bytes(block), 9) * (unpacked_bytes // block), headers={"Content-Encoding": "gzip"})


def cut_short(body: bytes) -> Reply:
    """Promise twice the body, send it once, and hang up."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        await _head(writer, 200, {"Content-Length": str(2 * len(body))})
        writer.write(body)
        await writer.drain()

    return reply


def nonsense() -> Reply:
    """Answer in no protocol at all."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\xff not HTTP\r\n\r\n")
        await writer.drain()

    return reply


async def _head(writer: asyncio.StreamWriter, status: int, headers: dict[str, str]) -> None:
    fields = "".join(f"{name}: {value}\r\n" for name, value in {**headers, "Connection": "close"}.items())
    writer.write(f"HTTP/1.1 {status} Word\r\n{fields}\r\n".encode("latin-1"))
    await writer.drain()
