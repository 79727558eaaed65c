"""Random traffic, valid and broken, with callers that leave at any moment: all is counted once, nothing is left."""

import asyncio
import contextlib
import json
import random

import msgspec
import pytest

from ingrain.server.following.followers import Followers
from ingrain.server.plane.endpoint import Endpoint
from ingrain.settings import Settings
from planes import running_planes

CALLERS, CONNECTIONS = 12, 25


def post(path: str, body: bytes, *headers: bytes, length: int | None = None) -> bytes:
    lines = [
        b"POST %s HTTP/1.1" % path.encode(),
        b"Host: localhost",
        *headers,
        b"Content-Length: %d" % (len(body) if length is None else length),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def embed(text, *headers: bytes) -> bytes:
    return post("/embed_text", json.dumps({"name": "org/model", "text": text}).encode(), *headers)


def piece(numbers: random.Random) -> bytes:
    """Return a request, a few, a part of one, or something else."""
    chunked = b"POST /embed_text HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    choices = [
        *[embed(numbers.choice(["red", "red green w1", "poison", "broken", ["red"] * 9])) for _ in range(6)],
        embed("red") * numbers.randrange(1, 60),
        embed("red", b"Expect: 100-continue"),
        embed("red", b"Connection: Upgrade", b"Upgrade: h2c"),
        embed("red", b"Connection: close"),
        embed("red")[: numbers.randrange(60)],
        post("/embed_text", b"x" * 10, length=numbers.choice([10, 3_000, 300_000, 10**9])),
        post("/nope", b"abc", length=numbers.choice([3, 100, 10**6])),
        chunked + numbers.choice([b"zz\r\n", b"2\r\n{}\r\n0\r\n\r\n", b"2\r\n{}\r\n0\r\nA: b\r\n\r\n", b"5\r\nab"]),
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"HEAD /ready HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * numbers.randrange(1, 30),
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain;version=a.b.c\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET /" + b"a" * numbers.randrange(100_000),
        numbers.choice([b"GARBAGE\r\n\r\n", b"\x00\x01", b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\r\n\r\n"]),
    ]
    return numbers.choice(choices)


async def call(port: int, numbers: random.Random) -> None:
    """Make one connection, say something, and leave in one of the ways that callers leave."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    # uvloop raises RuntimeError from a transport that the server has closed.
    with contextlib.suppress(ConnectionError, TimeoutError, RuntimeError):
        for _ in range(numbers.randrange(1, 5)):
            data = b"".join(piece(numbers) for _ in range(numbers.choice([1, 1, 2, 3])))
            while data:
                size = len(data) if numbers.random() < 0.7 else numbers.randrange(1, len(data) + 1)
                writer.write(data[:size])
                data = data[size:]
                if numbers.random() < 0.3:
                    await asyncio.sleep(numbers.random() * 0.003)
            if numbers.random() < 0.5:
                async with asyncio.timeout(numbers.choice([0.001, 0.005, 0.02])):
                    await reader.read(65_536)
        if numbers.random() < 0.2:
            async with asyncio.timeout(0.3):
                await reader.read()
    if numbers.random() < 0.5:
        writer.transport.abort()
    writer.close()


@pytest.mark.parametrize("max_body_bytes", [5_000, 1_000_000])
async def test_every_request_that_is_begun_ends_once_and_nothing_is_left(tmp_path, monkeypatch, caplog, max_body_bytes):
    begun = 0
    begin = Endpoint.begin

    def counting_begin(self, request):
        nonlocal begun
        begun += 1
        return begin(self, request)

    ended = 0
    pass_on = Followers.ended

    def counting_ended(self, exchange):
        nonlocal ended
        ended += 1
        pass_on(self, exchange)

    monkeypatch.setattr(Endpoint, "begin", counting_begin)
    monkeypatch.setattr(Followers, "ended", counting_ended)
    numbers = random.Random(max_body_bytes)
    settings = Settings(request_timeout_s=1.0, max_header_bytes=20_000, max_body_bytes=max_body_bytes)
    settings = msgspec.structs.replace(settings, server_timing=max_body_bytes > 10_000)  # with and without timelines
    async with running_planes(tmp_path, settings) as planes:
        await planes.load()
        ports = [planes.inference.base_url.port, planes.model.base_url.port]

        async def caller() -> None:
            for _ in range(CONNECTIONS):
                planes.engine.latency_s = numbers.choice([0, 0.001, 0.01, 0.05])
                await call(numbers.choices(ports, [4, 1])[0], numbers)

        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        load = planes.services.load
        async with asyncio.timeout(20):
            while load.in_progress:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.05)  # a follower hears of the last request in the loop's next turn
        telemetry = planes.services.telemetry
        assert (load.requests, load.in_progress) == (0, 0)
        assert planes.services.bodies.held_bytes == 0
        assert begun > 300
        assert sum(sum(statuses.values()) for statuses in telemetry.counts().answers.values()) == begun
        assert ended == (begun if settings.server_timing else 0)
        for _, queue in planes.services.registry.queues():
            assert (queue.queued_tokens, len(queue._queue), len(queue._unanswered)) == (0, 0, 0)
        assert (await planes.embed("red")).status_code == 200
    assert [record.message for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []
