"""Faults of clients: slow ones, ones that vanish, and too many at once. Other clients notice nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json

import httpx

from chaos.faults.registration import fault
from chaos.models import MODELS
from chaos.set_up import SetUp

_SLOW_CLIENTS, _SLOW_S = 50, 5.0
_VANISHING_CLIENTS = 200
_BURST_CLIENTS = 300
_ANSWERS_TO_A_BURST = {200, 429, 503}


@fault()
async def slow_clients(set_up: SetUp) -> float:
    """Send fifty requests byte by byte, and leave after five seconds."""

    async def crawl(address: str) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_SLOW_S):
                _, writer = await _connect(address)
                try:
                    for byte in _request(address, "w1 " * 100):
                        writer.write(bytes([byte]))
                        await writer.drain()
                        await asyncio.sleep(0.1)
                finally:
                    writer.close()

    await asyncio.gather(*(crawl(set_up.rng.choice(set_up.addresses)) for _ in range(_SLOW_CLIENTS)))
    return 0


@fault()
async def vanishing_clients(set_up: SetUp) -> float:
    """Send two hundred large requests, and reset each connection before the answer."""

    async def vanish(address: str) -> None:
        with contextlib.suppress(OSError):
            _, writer = await _connect(address)
            writer.write(_request(address, " ".join(["w1"] * 60), 20))
            await writer.drain()
            await asyncio.sleep(set_up.rng.uniform(0, 0.1))
            writer.transport.abort()

    for _ in range(_VANISHING_CLIENTS // 20):
        await asyncio.gather(*(vanish(set_up.rng.choice(set_up.addresses)) for _ in range(20)))
    return 0


@fault()
async def burst(set_up: SetUp) -> float:
    """Send three hundred requests of twenty texts at once."""
    limits = httpx.Limits(max_connections=_BURST_CLIENTS)
    async with httpx.AsyncClient(trust_env=False, timeout=120, limits=limits) as client:

        async def ask(number: int) -> str | None:
            body = {"name": MODELS[0], "text": [f"w1 w{number % 50} w{place}" for place in range(20)]}
            address = set_up.addresses[number % len(set_up.addresses)]
            answer = await client.post(f"{address}/embed_text", json=body)
            if answer.status_code in _ANSWERS_TO_A_BURST:
                return None
            return f"a burst was answered {answer.status_code}: {answer.text[:300]}"

        answers = await asyncio.gather(*map(ask, range(_BURST_CLIENTS)), return_exceptions=True)
    set_up.problems += sorted({one for one in answers if isinstance(one, str)})
    if broken := {type(one).__name__ for one in answers if isinstance(one, BaseException)}:
        set_up.problems.append(f"connections of a burst ended with {broken}")
    return 0


async def _connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", httpx.URL(address).port)


def _request(address: str, text: str, items: int = 1) -> bytes:
    body = json.dumps({"name": MODELS[0], "text": [text] * items}).encode()
    host = httpx.URL(address).netloc.decode()
    head = f"POST /embed_text HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
