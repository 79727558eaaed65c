"""Responses that are sent piece by piece, on real sockets: to whom, how fast, and what becomes of broken ones."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

import pytest

from ingrain.app.listen import open_socket
from ingrain.errors import EngineUnavailableError
from ingrain.server.dialects.native.dialect import NATIVE
from ingrain.server.http.application import BodyLimit, Started
from ingrain.server.http.body_budget import BodyBudget
from ingrain.server.http.interfaces import HttpLimits
from ingrain.server.http.message import Request, Response, StreamedResponse
from ingrain.server.http.server import HttpServer
from ingrain.server.plane.errors import error_response

WAIT_S = 30.0
GET = b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /plain HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@dataclass
class Streams:
    """Answers ``/stream`` with the pieces of a generator, and any other path at once; notes how streams end."""

    pieces: Callable[[], AsyncGenerator[bytes, None]]
    ends: list[bool] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def admit(self, request: Request):
        return {}

    def begin(self, request: Request):
        return Answer(self, request)

    def refuse(self, error):
        return error_response(error, "id", NATIVE)


@dataclass
class Answer:
    app: Streams
    request: Request
    body_limit: BodyLimit = field(default_factory=lambda: BodyLimit(1_000_000, "INGRAIN_MAX_BODY_BYTES"))

    def start(self, deliver) -> Response | Started:
        return Started.NEEDS_A_TASK if self.request.path == "/stream" else Response(b"plain")

    async def answer(self) -> Response:
        return StreamedResponse(
            pieces=self.app.pieces(),
            on_end=self.app.ends.append,
            media_type="text/plain",
            headers={"x-request-id": "7"},
        )

    def refuse(self, error):
        self.app.refused.append(error.code)
        return error_response(error, "id", NATIVE)

    def abandon(self) -> None:
        self.app.refused.append("abandoned")


@contextlib.asynccontextmanager
async def serving(pieces, grace_s: float = 0.2, **limits):
    app = Streams(pieces)
    server = HttpServer(app, HttpLimits(**limits), BodyBudget(2**30))
    listener = open_socket("127.0.0.1", 0, "a test's port")
    await server.start(listener)
    try:
        yield app, server, listener.getsockname()[1]
    finally:
        await server.stop(grace_s)


async def until(condition) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.01)


async def said(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        return await asyncio.wait_for(reader.read(), WAIT_S)
    finally:
        writer.close()


async def three() -> AsyncGenerator[bytes, None]:
    for piece in (b"one", b"", b"two" * 5, b"three"):
        yield piece
        await asyncio.sleep(0)


@pytest.mark.both_loops
async def test_pieces_are_chunks_and_the_connection_stays():
    async with serving(three) as (app, _, port):
        answers = await said(port, GET + GET + LAST)
    head, _, rest = answers.partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head
    assert b"content-length" not in head
    assert b"connection:" not in head
    body = b"3\r\none\r\nf\r\n" + b"two" * 5 + b"\r\n5\r\nthree\r\n0\r\n\r\n"
    assert rest.startswith(body + b"HTTP/1.1 200 OK"), "the next response follows the last chunk"
    assert answers.count(body) == 2
    assert answers.endswith(b"\r\n\r\nplain")
    assert app.ends == [True, True]


@pytest.mark.both_loops
async def test_a_piece_is_sent_when_it_is_there():
    gate = asyncio.Event()

    async def pieces():
        yield b"first"
        await gate.wait()
        yield b"second"

    async with serving(pieces) as (app, _, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)
        await asyncio.wait_for(reader.readuntil(b"5\r\nfirst\r\n"), WAIT_S)
        assert app.ends == []
        gate.set()
        await asyncio.wait_for(reader.readuntil(b"6\r\nsecond\r\n0\r\n\r\n"), WAIT_S)
        writer.close()


async def test_to_http_1_0_the_end_of_the_connection_is_the_end_of_the_body():
    async with serving(three) as (app, _, port):
        answer = await said(port, b"GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert body == b"one" + b"two" * 5 + b"three"
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert app.ends == [True]


async def test_the_answer_to_head_asks_for_no_piece():
    async def pieces():
        raise AssertionError("a piece was asked for")
        yield b""

    async with serving(pieces) as (app, _, port):
        answers = await said(port, GET.replace(b"GET", b"HEAD") + LAST)
    head, _, rest = answers.partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head
    assert rest.startswith(b"HTTP/1.1 200 OK")
    assert app.ends == [True]


@pytest.mark.both_loops
@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
async def test_an_exception_cuts_the_body_off_and_is_told_to_the_operator(caplog, version):
    async def pieces():
        yield b"one"
        raise ValueError("broken")

    async with serving(pieces) as (app, _, port):
        answer = await said(port, GET.replace(b"HTTP/1.1", version) + LAST)
    assert answer.endswith(b"3\r\none\r\n" if version == b"HTTP/1.1" else b"one"), "no last chunk, no next response"
    assert app.ends == [False]
    assert "request 7 was cut off" in caplog.text
    assert "ValueError: broken" in caplog.text


@pytest.mark.both_loops
async def test_a_client_that_goes_away_cancels_the_stream():
    ended = []

    async def pieces():
        try:
            yield b"one"
            await asyncio.sleep(WAIT_S)
        finally:
            ended.append(True)

    async with serving(pieces) as (app, _, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)
        await asyncio.wait_for(reader.readuntil(b"one\r\n"), WAIT_S)
        writer.close()
        await until(lambda: app.ends)
        assert app.ends == [False]
        assert ended == [True], "the generator is closed at once, not by the garbage collector"
        assert app.refused == []


def slow_reader(port: int) -> socket.socket:
    """Connect with a small buffer, so that little is on its way to a client that does not read."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", port))
    connection.sendall(GET)
    return connection


@pytest.mark.both_loops
async def test_a_client_that_reads_slowly_holds_the_stream_up():
    made, count, size = [], 200, 65_536

    async def pieces():
        for number in range(count):
            made.append(number)
            yield b"x" * size

    async with serving(pieces) as (app, _, port):
        connection = slow_reader(port)
        before = -1
        while len(made) > before:  # until the buffers of both sides are full
            before = len(made)
            await asyncio.sleep(0.2)
        assert before < count / 2
        read = await asyncio.to_thread(_read_to_the_end, connection)
        assert read > count * size
        assert len(made) == count
        await until(lambda: app.ends)
    assert app.ends == [True]


def _read_to_the_end(connection: socket.socket) -> int:
    with connection:
        connection.settimeout(WAIT_S)
        read, tail = 0, b""
        while not tail.endswith(b"\r\n0\r\n\r\n"):
            piece = connection.recv(1_000_000)
            assert piece
            read, tail = read + len(piece), (tail + piece)[-10:]
        return read


async def test_a_client_that_does_not_read_at_all_is_cut_off():
    async def pieces():
        while True:
            yield b"x" * 65_536

    async with serving(pieces, read_timeout_s=0.4) as (app, server, port):
        with slow_reader(port):
            await until(lambda: app.ends)
        assert app.ends == [False]
        await until(lambda: not server.connections)


async def test_a_pause_between_pieces_is_no_idle_connection():
    async def pieces():
        yield b"one"
        await asyncio.sleep(1.0)
        yield b"two"

    async with serving(pieces, read_timeout_s=0.2, keep_alive_s=0.2) as (app, _, port):
        answer = await said(port, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert answer.endswith(b"3\r\ntwo\r\n0\r\n\r\n")
    assert app.ends == [True]


@pytest.mark.both_loops
async def test_stopping_waits_for_a_stream_and_closes_its_connection():
    gate = asyncio.Event()

    async def pieces():
        yield b"one"
        await gate.wait()
        yield b"two"

    async with serving(pieces) as (app, server, port):
        asking = asyncio.create_task(said(port, GET))
        await until(lambda: server.connections)
        stopping = asyncio.create_task(server.stop(WAIT_S))
        await asyncio.sleep(0.1)
        gate.set()
        answer = await asking
        await asyncio.wait_for(stopping, WAIT_S)
    assert answer.endswith(b"3\r\ntwo\r\n0\r\n\r\n")
    assert app.ends == [True]


@pytest.mark.both_loops
async def test_a_stream_that_does_not_end_is_cut_off_when_the_server_stops():
    async def pieces():
        yield b"one"
        await asyncio.sleep(WAIT_S)

    async with serving(pieces) as (app, server, port):
        asking = asyncio.create_task(said(port, GET))
        await until(lambda: server.connections)
        await asyncio.sleep(0.1)
        await asyncio.wait_for(server.stop(0.2), WAIT_S)
        answer = await asking
    assert answer.endswith(b"3\r\none\r\n"), "what was written has come, and no second response follows"
    assert app.ends == [False]
    assert app.refused == [EngineUnavailableError.code]
