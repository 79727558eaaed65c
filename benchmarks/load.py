"""A closed loop of HTTP clients that costs as little as a Python one can: prepared bytes on raw connections."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class LoadResult:
    """What one run of the loop saw.

    Attributes:
        seconds: Wall time.
        latencies_s: One for each answer, in order of completion.
        statuses: Answers by status.
        cpu_s: CPU time of this process, which the server did not have.
    """

    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    cpu_s: float = 0.0

    @property
    def requests_per_s(self) -> float:
        """Answers by second of wall time."""
        return len(self.latencies_s) / self.seconds

    def percentile_ms(self, share: float) -> float:
        """Latency in milliseconds that this share of the answers stayed under."""
        ordered = sorted(self.latencies_s)
        return 1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class _Client(asyncio.Protocol):
    """One connection that sends the next request as soon as the last one is answered."""

    def __init__(self, requests: Iterator[bytes], result: LoadResult, until: float, done: asyncio.Future) -> None:
        self.requests, self.result, self.until, self.done = requests, result, until, done
        self.buffer = b""
        self.sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        self.sent_at = time.perf_counter()
        if self.sent_at >= self.until:
            self.transport.close()
            self.done.set_result(None)
            return
        self.transport.write(next(self.requests))

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        at = self.buffer.find(b"content-length: ")
        length = int(self.buffer[at + 16 : self.buffer.index(b"\r", at)])
        if len(self.buffer) < end + 4 + length:
            return
        status = int(self.buffer[9:12])
        self.buffer = b""
        self.result.statuses[status] = self.result.statuses.get(status, 0) + 1
        self.result.latencies_s.append(time.perf_counter() - self.sent_at)
        self.send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the server closed the connection"))


def http_request(path: str, body: object) -> bytes:
    """Return a POST as bytes."""
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
    return head.encode() + b"\r\n\r\n" + content


async def closed_loop(port: int, requests: Sequence[bytes], clients: int, seconds: float) -> LoadResult:
    """Keep ``clients`` requests in progress for ``seconds``, walking through the prepared requests in turn."""

    def endless() -> Iterator[bytes]:
        while True:
            yield from requests

    loop = asyncio.get_running_loop()
    result, feed = LoadResult(), endless()
    started, cpu = time.perf_counter(), time.process_time()
    futures = []
    for _ in range(clients):
        future = loop.create_future()
        await loop.create_connection(lambda f=future: _Client(feed, result, started + seconds, f), "127.0.0.1", port)
        futures.append(future)
    await asyncio.gather(*futures)
    result.seconds = time.perf_counter() - started
    result.cpu_s = time.process_time() - cpu
    return result
