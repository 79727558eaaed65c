"""The sockets: taken ports, endless headers, a stop that lets requests finish."""

import asyncio
import contextlib

import pytest
from starlette.responses import PlainTextResponse

from ingrain.errors import SettingsError
from ingrain.server.listen import open_socket, serve_apps


@contextlib.asynccontextmanager
async def serving(app, **options):
    listener, stop = open_socket("127.0.0.1", 0, "INGRAIN_INFERENCE_PORT"), asyncio.Event()
    server = asyncio.create_task(serve_apps([(app, listener)], stop, 2, **options))
    try:
        yield listener.getsockname()[1], stop
    finally:
        stop.set()
        await server


async def exchange(port: int, pieces) -> bytes:
    """Send pieces until the server hangs up, and return what it said."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
    with contextlib.suppress(ConnectionError):
        return await asyncio.wait_for(reader.read(100_000), 5)
    return b""


async def test_endless_headers_are_cut_off():
    """Neither one endless header nor endlessly many are taken in."""
    async with serving(PlainTextResponse("served"), max_header_bytes=10_000) as (port, _):
        one = [b"GET / HTTP/1.1\r\nX-Long: ", *[b"a" * 50_000] * 40]
        many = [b"GET / HTTP/1.1\r\n", *[b"X-Many: a\r\n" * 5_000] * 40]
        for pieces in (one, many):
            said = await exchange(port, pieces)
            assert b"served" not in said
            assert said == b"" or b" 431 " in said or b" 400 " in said


async def test_large_bodies_and_several_requests_on_a_connection_are_served():
    async with serving(PlainTextResponse("served"), max_header_bytes=1_000) as (port, _):
        body = b"b" * 3_000_000
        request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(3):
            writer.write(request)
            await writer.drain()
            assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"served"), 5)
        writer.close()


async def test_a_taken_port_is_told_with_its_setting():
    async with serving(PlainTextResponse("served")) as (port, _):
        with pytest.raises(SettingsError, match="INGRAIN_MODEL_PORT"):
            open_socket("127.0.0.1", port, "INGRAIN_MODEL_PORT")
