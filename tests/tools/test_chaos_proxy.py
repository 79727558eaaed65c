"""The proxy of `make chaos` does to connections what it says."""

import asyncio
import random
from contextlib import asynccontextmanager

import pytest

from chaos.proxy import Proxy


@asynccontextmanager
async def proxied():
    """Yield a proxy before a server that sends back what it gets."""

    async def echo(reader, writer):
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = Proxy(server.sockets[0].getsockname()[1], random.Random(0))
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
        server.close()


async def connect(proxy):
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def send(reader, writer, data=b"some words", seconds=10):
    writer.write(data)
    async with asyncio.timeout(seconds):
        return await reader.read(1000)


async def test_what_is_held_arrives_when_it_is_released():
    async with proxied() as proxy:
        reader, writer = await connect(proxy)
        assert await send(reader, writer) == b"some words"
        proxy.hold()
        with pytest.raises(TimeoutError):
            await send(reader, writer, b"held", 0.1)
        proxy.release()
        async with asyncio.timeout(10):
            assert await reader.read(1000) == b"held"
        writer.close()


async def test_open_connections_go_silent_for_ever_and_new_ones_work():
    async with proxied() as proxy:
        old, new = await connect(proxy), None
        assert await send(*old) == b"some words"
        proxy.hold_open_ones()
        new = await connect(proxy)
        assert await send(*new) == b"some words"
        with pytest.raises(TimeoutError):
            await send(*old, seconds=0.1)
        for _, writer in (old, new):
            writer.close()


async def test_connections_are_reset_and_new_ones_refused():
    async with proxied() as proxy:
        reader, writer = await connect(proxy)
        assert await send(reader, writer) == b"some words"
        proxy.refuses = True
        proxy.cut()
        with pytest.raises(ConnectionError):
            await send(reader, writer)
        reader, writer = await connect(proxy)
        try:
            assert await send(reader, writer) == b""
        except ConnectionError:
            pass
        writer.close()


@pytest.mark.parametrize("only_heads", [True, False])
async def test_one_bit_is_flipped_each_time(only_heads):
    async with proxied() as proxy:
        reader, writer = await connect(proxy)
        proxy.flips, proxy.only_heads = 1.0, only_heads
        data = bytes(100)
        found = await send(reader, writer, data)
        flipped = [place for place, byte in enumerate(found) if byte]
        assert sum(byte.bit_count() for byte in found) in (0, 2)  # once each way, perhaps the same bit
        assert not only_heads or all(place < 9 for place in flipped)
        writer.close()
