"""Requests leave nothing behind that only the garbage collector could free, for the server has it look seldom."""

import asyncio
import gc
import re
from collections import Counter

import pytest

from ingrain.bench.load import http_request

MANY = ["red"] * 50


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/embed_text", {"text": "red"}, 200),
        ("/embed_text", {"text": MANY}, 200),
        ("/embed_text", {"text": "red", "nDims": 5_000}, 400),
        ("/embed_text", {"text": MANY, "nDims": 5_000}, 400),
        ("/embed_text", {"name": "org/nobody", "text": "red"}, 404),
        ("/embed_text", {"text": "poison"}, 500),
        ("/embed_text", {"text": [*MANY, "poison"]}, 500),
        ("/v1/embeddings", {"model": "org/model", "input": [[2, 3]]}, 200),
        ("/v1/embeddings", {"model": "org/model", "input": [[2, -3]]}, 400),
    ],
)
async def test_requests_leave_no_garbage(planes, path, body, status):
    """Asked on bare connections: a client library leaves garbage of its own."""
    url = planes.inference.base_url
    request = http_request(path, body if "model" in body else {"name": "org/model", **body})
    connections = [await asyncio.open_connection(url.host, url.port) for _ in range(20)]

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(re.search(rb"content-length: (\d+)", head)[1]))
        assert head.split()[1] == b"%d" % status

    async def ask_often(rounds: int) -> None:
        for _ in range(rounds):
            await asyncio.gather(*(ask(*connection) for connection in connections))

    await ask_often(2)  # what is made once
    gc.collect()
    gc.disable()
    try:
        await ask_often(10)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left = Counter(type(item).__qualname__ for item in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
        for _, writer in connections:
            writer.close()
    # Of 200 requests; each that leaves anything leaves an exception and its frames, at the least.
    assert left.total() < 100, left.most_common(20)
