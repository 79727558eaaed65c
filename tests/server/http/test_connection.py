"""HTTP/1.1 on real sockets: what callers send in whole, in pieces, too long, too slowly, or not to the end."""

import asyncio
import contextlib
import itertools
import socket
import time
from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from ingrain.app.listen import open_socket
from ingrain.errors import SettingsError
from ingrain.server.dialects.native.dialect import NATIVE
from ingrain.server.http.application import BodyLimit, Started
from ingrain.server.http.body_budget import BodyBudget
from ingrain.server.http.interfaces import HttpLimits
from ingrain.server.http.message import Request, Response
from ingrain.server.http.server import HttpServer
from ingrain.server.plane.errors import error_response


@dataclass
class Echo:
    """Answers with what it was asked, after ``gate`` opens; counts what begins and how it ends."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    begun: int = 0
    ends: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    answer_bytes: int = 0
    max_body_bytes: int = 67_108_864
    way: ClassVar[str] = "delivered"

    def admit(self, request: Request):
        return {}

    def begin(self, request: Request):
        self.begun += 1
        if request.path in self.refused:
            return Response(b"no", 403)
        return EchoExchange(self, request)

    def refuse(self, error):
        return error_response(error, "id", NATIVE)


@dataclass
class EchoExchange:
    app: Echo
    request: Request
    delivering: asyncio.Task | None = None

    @property
    def body_limit(self) -> BodyLimit:
        return BodyLimit(self.app.max_body_bytes, "INGRAIN_MAX_BODY_BYTES")

    def start(self, deliver) -> Response | Started:
        if self.app.way == "at once" and self.app.gate.is_set():
            return self._answer()
        if self.app.way != "delivered":
            return Started.NEEDS_A_TASK
        self.delivering = asyncio.create_task(self._deliver(deliver))
        return Started.WILL_BE_DELIVERED

    async def _deliver(self, deliver) -> None:
        await self.app.gate.wait()
        self.delivering = None
        deliver(self._answer())

    async def answer(self) -> Response:
        try:
            await self.app.gate.wait()
        except asyncio.CancelledError:
            self.app.ends.append("cancelled")
            raise
        return self._answer()

    def _answer(self) -> Response:
        self.app.ends.append("answered")
        body = b"".join((self.request.body, *self.request.pieces))
        said = f"{self.request.method} {self.request.path}?{self.request.query_string} ".encode() + body
        return Response(said + b"x" * self.app.answer_bytes, media_type="text/plain")

    def refuse(self, error):
        self.app.ends.append("refused")
        return error_response(error, "id", NATIVE)

    def abandon(self) -> None:
        if self.delivering is not None:
            self.delivering.cancel()
        self.app.ends.append("abandoned" if self.delivering is None else "cancelled")


@pytest.fixture(params=["in a task", "delivered", "at once"])
def way(request, monkeypatch):
    """Have requests answered in each of the ways that an application may choose."""
    monkeypatch.setattr(Echo, "way", request.param)


@contextlib.asynccontextmanager
async def serving(app=None, max_bodies_bytes=2**30, body_bytes_per_s=0, **limits):
    """Serve an application whose gate is open, and yield the server and its port."""
    if app is None:
        app = Echo()
        app.gate.set()
    server = HttpServer(app, HttpLimits(**limits), BodyBudget(max_bodies_bytes, body_bytes_per_s))
    listener = open_socket("127.0.0.1", 0, "a test's port")
    await server.start(listener)
    try:
        yield server, listener.getsockname()[1]
    finally:
        await server.stop(0.2)


async def exchange(port: int, *pieces: bytes, pause_s: float = 0.0, wait_s: float = 20.0) -> bytes:
    """Send pieces, whether the server still wants them or not, and return what it says until it hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def send() -> None:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause_s)

    sending = asyncio.create_task(send())
    said = b""
    try:
        async with asyncio.timeout(wait_s):
            while piece := await reader.read(65_536):
                said += piece
    except (TimeoutError, ConnectionError):
        pass
    finally:
        sending.cancel()
        writer.close()
    return said


def statuses(said: bytes) -> list[int]:
    return [int(part[:3]) for part in said.split(b"HTTP/1.1 ")[1:]]


def body(said: bytes) -> bytes:
    return said.partition(b"\r\n\r\n")[2]


CLOSE = b"Connection: close\r\n\r\n"


@pytest.mark.usefixtures("way")
@pytest.mark.both_loops
async def test_a_request_is_read_in_one_piece_and_byte_by_byte():
    request = b"POST /a%20b?c=d&e HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody"
    async with serving() as (_, port):
        whole = await exchange(port, request)
        pieces = await exchange(port, *(request[i : i + 1] for i in range(len(request))))
    assert body(whole) == body(pieces) == b"POST /a b?c=d&e body"
    assert b"\r\nconnection: close\r\n" in whole
    assert b"\r\ndate: " in whole


async def test_a_chunked_body_is_put_together():
    request = (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        + CLOSE
        + b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nT: t\r\n\r\n"
    )
    async with serving() as (_, port):
        assert body(await exchange(port, request)) == b"POST /? abcdefg"


@pytest.mark.usefixtures("way")
async def test_pipelined_requests_are_answered_in_their_order():
    count = 40
    requests = [b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(count)]
    requests.append(b"GET /last HTTP/1.1\r\nHost: x\r\n" + CLOSE)
    app = Echo(refused={"/7", "/8"})
    app.gate.set()
    async with serving(app) as (_, port):
        said = await exchange(port, b"".join(requests))
    assert statuses(said) == [403 if n in (7, 8) else 200 for n in range(count)] + [200]
    places = [said.index(b"GET /%d?" % n) for n in range(count) if n not in (7, 8)]
    assert places == sorted(places)
    assert app.ends.count("answered") == count - 1


@pytest.mark.usefixtures("way")
async def test_a_connection_is_kept_or_closed_as_the_caller_says():
    async with serving() as (_, port):
        old = await exchange(port, b"GET / HTTP/1.0\r\n\r\n")
        assert b"connection: close" in old
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert b"connection: keep-alive" in await asyncio.wait_for(reader.readuntil(b"GET /? "), 30)
        for _ in range(3):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"GET /? "), 30)
        writer.close()


async def test_the_answer_to_head_has_the_length_and_no_body():
    async with serving() as (_, port):
        said = await exchange(port, b"HEAD /abc HTTP/1.1\r\nHost: x\r\n" + CLOSE)
    assert body(said) == b""
    assert b"content-length: 11\r\n" in said


async def test_a_caller_that_waits_for_leave_to_send_gets_it():
    async with serving() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n" + CLOSE)
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"body")
        assert body(await reader.read()) == b"POST /? body"
        writer.close()


async def test_a_caller_that_waits_for_leave_is_refused_instead():
    async with serving(Echo(max_body_bytes=1_000)) as (_, port):
        waiting = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n"
        said = await exchange(port, waiting)
    assert statuses(said) == [413]


async def test_a_wish_for_another_protocol_is_passed_over():
    """What `curl --http2` sends, and a browser that wants a WebSocket."""
    async with serving() as (_, port):
        for wish in (b"h2c", b"websocket"):
            request = b"GET /up HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n" % wish
            assert body(await exchange(port, request)) == b"GET /up? "


@pytest.mark.parametrize(
    "bytes_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET / HTTP/3.7\r\n\r\n",
        b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c: d\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_refused_and_cut_off(bytes_):
    """Tunnels into the request behind another proxy (two lengths, folded headers) are among it."""
    async with serving() as (server, port):
        said = await exchange(port, bytes_)
        assert statuses(said) == [400]
        assert b'"code":"invalid_request"' in said
        assert server.application.ends in ([], ["refused"])


async def test_headers_trailers_and_request_lines_have_an_end():
    endless = [
        [b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: ", *[b"a" * 50_000] * 40],
        [b"GET / HTTP/1.1\r\nHost: x\r\n", *[b"X-Many: a\r\n" * 5_000] * 40],
        [b"GET /", *[b"a" * 50_000] * 40],
        [b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX: ", *[b"a" * 50_000] * 40],
        [b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2;", *[b"a" * 50_000] * 40],
    ]
    async with serving(max_header_bytes=10_000) as (_, port):
        for pieces in endless:
            assert statuses(await exchange(port, *pieces)) in ([431], [400])


@pytest.mark.both_loops
async def test_large_bodies_on_one_connection_are_served():
    async with serving(max_header_bytes=1_000) as (_, port):
        content = b"b" * 3_000_000
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(3):
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
            await writer.drain()
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
            assert b"200 OK" in head
            assert (await reader.readexactly(8 + len(content))).endswith(content)
        writer.close()


@pytest.mark.both_loops
async def test_large_bodies_are_read_at_their_pace_and_others_go_on_meanwhile():
    """Two bodies together take 0.4 s for 8 MiB at 20 MiB a second; the first MiB of each is not counted."""
    size = 5 * 2**20
    async with serving(body_bytes_per_s=20 * 2**20) as (_, port):
        started = time.monotonic()
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % size + CLOSE
        large = [asyncio.create_task(exchange(port, head, b"x" * size)) for _ in range(2)]
        await asyncio.sleep(0.05)
        assert statuses(await exchange(port, b"GET / HTTP/1.1\r\nHost: x\r\n" + CLOSE)) == [200]
        assert not any(task.done() for task in large)
        answers = await asyncio.gather(*large)
        assert time.monotonic() - started > 0.3
        assert all(statuses(said) == [200] and len(body(said)) > size for said in answers)


async def test_bodies_over_the_limit_are_refused_before_they_have_come():
    app = Echo(max_body_bytes=5_000)
    async with serving(app) as (_, port):
        announced = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n"
        said = await exchange(port, announced, *[b"a" * 10_000] * 100)
        chunked = [
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            *[b"3e8\r\n" + b"a" * 1000 + b"\r\n"] * 1000,
        ]
        said_chunked = await exchange(port, *chunked)
    assert statuses(said) == statuses(said_chunked) == [413]
    assert b"limit of this server (INGRAIN_MAX_BODY_BYTES)" in said
    assert app.ends == ["refused", "refused"]


@pytest.mark.usefixtures("way")
async def test_a_short_body_that_is_not_wanted_does_not_cost_the_connection():
    app = Echo(refused={"/closed"})
    app.gate.set()
    async with serving(app) as (_, port):
        refused = b"POST /closed HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12345"
        said = await exchange(port, refused, b"GET /open HTTP/1.1\r\nHost: x\r\n" + CLOSE)
    assert statuses(said) == [403, 200]


@pytest.mark.parametrize(
    "pieces",
    [
        [b"GET / HTT", *[b"P"] * 50],
        [b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", *[b" "] * 50],
        [b"GET / HTTP/1.1\r\nHost: x\r\n", *[b"X: y\r\n"] * 50],
    ],
)
@pytest.mark.usefixtures("way")
@pytest.mark.both_loops
async def test_what_drips_is_cut_off_at_the_deadline(pieces):
    loop = asyncio.get_running_loop()
    async with serving(read_timeout_s=0.4) as (_, port):
        started = loop.time()
        said = await exchange(port, *pieces, pause_s=0.1)
    assert statuses(said) in ([408], [400])
    assert loop.time() - started < 15


@pytest.mark.both_loops
async def test_an_idle_connection_is_closed_after_a_while_and_not_before():
    loop = asyncio.get_running_loop()
    async with serving(keep_alive_s=0.4) as (server, port):
        for pieces in ([], [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"]):
            started = loop.time()
            await exchange(port, *pieces)
            assert 0.3 < loop.time() - started < 15
        assert not server.connections


@pytest.mark.usefixtures("way")
@pytest.mark.both_loops
async def test_a_caller_that_goes_away_ends_its_own_request_and_those_behind_it():
    app = Echo()
    async with serving(app) as (server, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n")
        writer.write(b"POST /3 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n1")
        while app.begun < 3:
            await asyncio.sleep(0.01)
        writer.transport.abort()
        while server.connections:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        assert sorted(app.ends) == ["abandoned", "abandoned", "cancelled"]


@pytest.mark.usefixtures("way")
@pytest.mark.both_loops
async def test_a_caller_that_does_not_read_is_cut_off():
    app = Echo(answer_bytes=50_000_000)
    app.gate.set()
    async with serving(app, read_timeout_s=0.4) as (server, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        async with asyncio.timeout(60):
            while not app.ends:
                await asyncio.sleep(0.01)
            assert app.ends == ["answered"]
            while server.connections:
                await asyncio.sleep(0.05)
        writer.close()
    assert app.ends == ["answered", "abandoned", "abandoned"]


async def test_posts_that_wish_for_another_protocol_keep_their_bodies():
    """What `curl --http2` and Java's client send over plain HTTP."""
    wish = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    announced = b"POST /up HTTP/1.1\r\nHost: x\r\n" + wish + b"Content-Length: 5000\r\n\r\n" + b"b" * 5000
    chunked = b"POST /up HTTP/1.1\r\nHost: x\r\n" + wish + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    async with serving() as (_, port):
        assert body(await exchange(port, announced)) == b"POST /up? " + b"b" * 5000
        assert body(await exchange(port, chunked)) == b"POST /up? abc"
        pieces = [announced[n : n + 100] for n in range(0, len(announced), 100)]
        assert body(await exchange(port, *pieces)) == b"POST /up? " + b"b" * 5000


async def test_a_body_in_thousands_of_pieces_is_put_together():
    pieces = [b"%x\r\n" % 2 + b"%02d" % (n % 100) + b"\r\n" for n in range(20_000)]
    request = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n" + CLOSE + b"".join(pieces) + b"0\r\n\r\n"
    async with serving() as (_, port):
        assert body(await exchange(port, request)) == b"POST /? " + b"".join(b"%02d" % (n % 100) for n in range(20_000))


async def test_a_caller_that_waits_for_leave_learns_at_once_that_it_is_not_wanted():
    app = Echo(refused={"/no"})
    app.gate.set()
    async with serving(app) as (_, port):
        said = await exchange(
            port, b"POST /no HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n", wait_s=1
        )
    assert statuses(said) == [403]


@pytest.mark.usefixtures("way")
async def test_leave_to_send_is_given_in_turn_and_not_to_http_1_0():
    app = Echo()
    first = b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n"
    second = b"POST /2 HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n" + CLOSE
    async with serving(app) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(first + second)
        while app.begun < 2:
            await asyncio.sleep(0.01)
        app.gate.set()
        assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"GET /1? "), 30)
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"body")
        assert body(await reader.read()) == b"POST /2? body"
        writer.close()
        old = second.replace(b"HTTP/1.1", b"HTTP/1.0") + b"body"
        assert statuses(await exchange(port, old)) == [200]


@pytest.mark.parametrize("headers", [b"X: " + b"a" * 20_000 + b"\r\n", b"A: b\r\n" * 300])
async def test_headers_are_limited_in_length_and_number(headers):
    async with serving(max_header_bytes=15_000) as (server, port):
        assert statuses(await exchange(port, b"GET / HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n")) == [431]
        assert server.application.ends == []


@pytest.mark.parametrize(
    "head", [b"GET / HTTP/2.0\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n", b"GET http://[ HTTP/1.1\r\n"]
)
async def test_requests_that_no_proxy_would_understand_alike_are_refused(head):
    async with serving() as (_, port):
        assert statuses(await exchange(port, head + b"\r\n")) == [400]


@pytest.mark.usefixtures("way")
@pytest.mark.both_loops
async def test_one_connection_takes_few_requests_at_a_time():
    app = Echo()
    async with serving(app) as (_, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 5_000)
        await asyncio.sleep(0.3)
        assert app.begun < 100
        app.gate.set()
        async with asyncio.timeout(60):
            while app.ends.count("answered") < 5_000:
                await asyncio.sleep(0.05)
        writer.close()


@pytest.mark.usefixtures("way")
@pytest.mark.both_loops
async def test_a_rest_that_nobody_reads_does_not_keep_the_connection():
    """Too little to be told of by the transport, and never taken."""
    app = Echo(answer_bytes=60_000)
    app.gate.set()
    async with serving(app, read_timeout_s=0.4, keep_alive_s=0.4) as (server, port):
        for end in (b"\r\n", CLOSE):
            with socket.socket() as caller:
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                caller.connect(("127.0.0.1", port))
                caller.sendall((b"GET / HTTP/1.1\r\nHost: x\r\n" + end) * 60)
                async with asyncio.timeout(60):
                    await asyncio.sleep(0.1)
                    while server.connections:
                        await asyncio.sleep(0.05)


async def test_an_upload_that_goes_on_is_not_cut_off():
    async with serving(read_timeout_s=0.4) as (_, port):
        pieces = [b"b" * 20_000] * 10
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n" + CLOSE
        said = await exchange(port, head, *pieces, pause_s=0.1)
    assert statuses(said) == [200]


async def test_a_fault_of_the_application_is_a_500_and_told_to_the_operator(caplog):
    class Broken(Echo):
        def begin(self, request: Request):
            raise ValueError("broken")

    async with serving(Broken()) as (_, port):
        assert statuses(await exchange(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")) == [500]
    assert "Receiving a request failed" in caplog.text


async def test_one_connection_that_cannot_be_looked_after_does_not_end_the_clock(monkeypatch, caplog):
    async with serving(keep_alive_s=0.4) as (server, port):
        broken = asyncio.create_task(exchange(port))
        while not server.connections:
            await asyncio.sleep(0.01)
        (connection,) = server.connections
        monkeypatch.setattr(connection, "sweep", lambda: 1 / 0)
        assert await broken == b""
        started = asyncio.get_running_loop().time()
        assert await exchange(port) == b""
        assert asyncio.get_running_loop().time() - started < 15
    assert "Checking the timeouts of a connection failed" in caplog.text


@pytest.mark.usefixtures("way")
@pytest.mark.both_loops
async def test_stopping_waits_for_a_body_that_is_on_its_way():
    async with serving() as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbo")
        while not server.application.begun:
            await asyncio.sleep(0.01)
        stopping = asyncio.create_task(server.stop(3))
        await asyncio.sleep(0.1)
        writer.write(b"dy")
        assert body(await reader.read()) == b"POST /? body"
        await stopping
        writer.close()


@pytest.mark.usefixtures("way")
@pytest.mark.both_loops
async def test_stopping_closes_idle_connections_and_lets_answers_finish():
    app = Echo()
    async with serving(app) as (server, port):
        idle = asyncio.create_task(exchange(port))
        busy = asyncio.create_task(exchange(port, b"GET /busy HTTP/1.1\r\nHost: x\r\n\r\n"))
        while app.begun < 1:
            await asyncio.sleep(0.01)
        stopping = asyncio.create_task(server.stop(5))
        assert await idle == b""
        with pytest.raises(OSError, match=r"refused|Connect call failed"):
            await asyncio.open_connection("127.0.0.1", port)
        app.gate.set()
        said = await busy
        await asyncio.wait_for(stopping, 10)
    assert body(said) == b"GET /busy? "
    assert b"connection: close" in said


@pytest.mark.usefixtures("way")
@pytest.mark.both_loops
async def test_stopping_does_not_wait_for_ever():
    app = Echo()
    async with serving(app) as (server, port):
        busy = asyncio.create_task(exchange(port, b"GET /busy HTTP/1.1\r\nHost: x\r\n\r\n"))
        while app.begun < 1:
            await asyncio.sleep(0.01)
        await asyncio.wait_for(server.stop(0.2), 20)
        said = await busy
    assert statuses(said) == [503]
    assert b"retry-after: 5\r\n" in said
    assert b"The server is shutting down." in said
    assert app.ends[0] == "refused"


@pytest.mark.usefixtures("way")
@pytest.mark.both_loops
async def test_a_second_wish_to_stop_ends_the_wait_and_answers():
    app = Echo()
    async with serving(app) as (server, port):
        busy = asyncio.create_task(exchange(port, b"GET /busy HTTP/1.1\r\nHost: x\r\n\r\n"))
        half = asyncio.create_task(exchange(port, b"POST /half HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nbo"))
        while app.begun < 2:
            await asyncio.sleep(0.01)
        stopping = asyncio.create_task(server.stop(600))
        await asyncio.sleep(0.1)
        server.hurry()
        await asyncio.wait_for(stopping, 30)
        assert statuses(await busy) == statuses(await half) == [503]


@pytest.mark.both_loops
async def test_connections_that_wait_to_be_accepted_are_served_before_the_end():
    async with serving() as (server, port):
        callers = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]  # the loop has had no turn yet
        for caller in callers:
            caller.sendall(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % caller.fileno())
        await server.stop(10)
        for caller in callers:
            caller.setblocking(False)
            with caller:
                assert body(caller.recv(65_536)) == b"GET /%d? " % caller.fileno()


@pytest.mark.usefixtures("way")
@pytest.mark.both_loops
async def test_a_request_that_is_on_its_way_to_a_stopping_server_is_answered():
    """On a connection that was just made, and on one that was used before."""
    request = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
    async with serving() as (server, port):
        new, used = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        used[1].write(request)
        assert b"200 OK" in await asyncio.wait_for(used[0].readuntil(b"GET /a? "), 30)
        stopping = asyncio.create_task(server.stop(10))
        await asyncio.sleep(0.05)
        for reader, writer in (new, used):
            writer.write(request)
            said = await asyncio.wait_for(reader.read(), 30)
            assert statuses(said) == [200]
            assert b"connection: close" in said
            writer.close()
        await stopping


async def test_a_taken_port_is_told_with_its_setting():
    async with serving() as (_, port):
        with pytest.raises(SettingsError, match="INGRAIN_MODEL_PORT"):
            open_socket("127.0.0.1", port, "INGRAIN_MODEL_PORT")


@pytest.mark.usefixtures("way")
@pytest.mark.both_loops
async def test_requests_answered_at_once_let_others_have_a_turn():
    app, turns, stop = Echo(), [0], False
    app.gate.set()

    async def look() -> None:
        while not stop:
            turns.append(app.begun)
            await asyncio.sleep(0)

    async with serving(app) as (_, port):
        looking = asyncio.create_task(look())
        said = await exchange(
            port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 4_000 + b"GET /last HTTP/1.1\r\nHost: x\r\n" + CLOSE, wait_s=30
        )
        stop = True
        await looking
    assert said.count(b"HTTP/1.1 200") == 4_001
    assert said.endswith(b"GET /last? ")
    assert max(after - before for before, after in itertools.pairwise(turns)) < 150


@pytest.mark.usefixtures("way")
async def test_a_request_that_cannot_be_started_ends_its_connection_and_nothing_else(monkeypatch, caplog):
    class Panic(BaseException):
        pass

    def panic(self, deliver):
        if self.request.path == "/panic":
            raise Panic
        return start(self, deliver)

    start = EchoExchange.start
    monkeypatch.setattr(EchoExchange, "start", panic)
    async with serving() as (server, port):
        for data in (
            b"GET /panic HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /panic HTTP/1.1\r\nHost: x\r\n\r\n",
        ):
            assert b"/panic" not in await exchange(port, data)
        assert body(await exchange(port, b"GET /a HTTP/1.1\r\nHost: x\r\n" + CLOSE)) == b"GET /a? "
        assert not server.connections
    assert server.application.ends.count("abandoned") == 2
    assert "Starting a request failed" in caplog.text
