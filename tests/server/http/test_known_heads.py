"""Requests whose head was parsed before are taken past the parser, and nothing else is."""

import asyncio
import random

from test_connection import CLOSE, Echo, body, exchange, serving, statuses

from ingrain.server.http.incoming import IncomingRequest, parse_request
from ingrain.server.http.known_heads import KnownHeads

LENGTH = b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"


def whole(text: bytes) -> bytes:
    return LENGTH % len(text) + text


def learnt(data: bytes, **differently) -> KnownHeads:
    """Return what has learnt a request with a body of four bytes, as the parser tells of it."""
    heads = KnownHeads()
    headers = {b"host": b"x", b"content-length": b"4", **differently.pop("headers", {})}
    request = parse_request(b"POST", b"/a?b=c", headers)
    assert request is not None
    heads.learn(data, IncomingRequest(request, **({"keep_alive": True, "size": 4} | differently)))
    return heads


def test_the_same_head_with_another_body_is_known():
    found = learnt(whole(b"abcd")).find(whole(b"efgh"))
    assert found is not None
    assert (found.method, found.path, found.query_string, found.body) == ("POST", "/a", "b=c", b"efgh")
    assert found.header("host") == "x"


def test_what_is_not_whole_or_is_more_or_has_another_head_is_not_known():
    heads = learnt(whole(b"abcd"))
    for data in (
        whole(b"efgh")[:-1],
        whole(b"efgh") + b"P",
        whole(b"efghi"),
        b"\r\n" + whole(b"efgh"),
        b"",
        b"\r\n\r\n",
    ):
        assert heads.find(data) is None


def test_only_plain_requests_are_learnt():
    """Nothing that is framed otherwise, ends the connection, or was not all that had come."""
    data = whole(b"abcd")
    for different in (
        {"keep_alive": False},
        {"is_http_1_0": True},
        {"size": 3},
        {"headers": {b"transfer-encoding": b"chunked"}},
        {"headers": {b"expect": b"100-continue"}},
        {"headers": {b"upgrade": b"h2c"}},
    ):
        assert learnt(data, **different).find(data) is None
    assert learnt(data + b"more").find(data) is None
    two = b"GET /a HTTP/1.1\nHost: x\n\nGET /b HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcd"
    assert learnt(two).find(two) is None
    long = b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 3000 + b"\r\nContent-Length: 4\r\n\r\nabcd"
    assert learnt(long).find(long) is None


def test_heads_that_never_come_again_do_not_keep_out_those_that_do():
    heads = KnownHeads()
    request = parse_request(b"GET", b"/", {})
    assert request is not None
    for number in range(2000):
        data = b"GET / HTTP/1.1\r\nHost: x\r\nX-Request-Id: %d\r\n\r\n" % number
        heads.learn(data, IncomingRequest(request, keep_alive=True))
        assert heads.find(data) is not None
    assert len(heads._heads) <= 512


async def test_known_and_unknown_requests_are_answered_alike_and_in_order():
    """The same requests on one connection, in pieces as they fall, are answered as if none had been seen before."""
    numbers = random.Random(3)
    async with serving() as (server, port):
        for _ in range(20):
            texts = [b"t" * numbers.randrange(4) for _ in range(30)]
            data = b"".join(map(whole, texts))
            pieces, at = [], 0
            while at < len(data):
                size = numbers.choice([len(whole(b"ttt")), len(whole(b"")), 40, 1000])
                pieces.append(data[at : at + size])
                at += size
            said = await exchange(port, *pieces, b"GET /last HTTP/1.1\r\nHost: x\r\n" + CLOSE, pause_s=0.0005)
            assert statuses(said) == [200] * 31
            answers = [body(part) for part in said.split(b"HTTP/1.1 200")[1:]]
            assert answers == [b"POST /a?b=c " + text for text in texts] + [b"GET /last? "]
        assert server.known_heads._heads


async def test_a_known_request_is_refused_where_the_application_says_so_and_not_taken_after_the_last_one():
    app = Echo()
    app.gate.set()
    async with serving(app) as (_, port):
        ask = b"GET /7 HTTP/1.1\r\nHost: x\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def status() -> int:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
            await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
            return int(head[9:12])

        for refused, expected in (((), 200), ((), 200), (("/7",), 403), ((), 200)):
            app.refused = set(refused)
            writer.write(ask)
            assert await status() == expected
        begun = app.begun
        app.gate.clear()
        writer.write(b"GET /7 HTTP/1.1\r\nHost: x\r\n" + CLOSE)
        while app.begun == begun:
            await asyncio.sleep(0.01)
        writer.write(ask)
        await asyncio.sleep(0.05)
        app.gate.set()
        assert await status() == 200
        assert await asyncio.wait_for(reader.read(), 30) == b""
        assert app.begun == begun + 1
        writer.close()
