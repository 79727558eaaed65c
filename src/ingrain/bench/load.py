"""Closed and open loops of HTTP clients that cost as little as Python ones can: prepared bytes on raw connections."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import orjson

_CONNECT_TIMEOUT_S = 10.0
_LAST_ANSWERS_S = 60.0


@dataclass(slots=True)
class LoadResult:
    """What one run of a loop saw.

    Attributes:
        seconds: Wall time, until the last answer.
        latencies_s: One for each answer of status 200, from the moment its request was sent; in an open loop from the
            moment it was meant to be sent, so that a server that falls behind cannot hide it.
        statuses: Answers by status.
        lost: Requests whose connection broke.
        cpu_s: CPU time of this process, which the server did not have.
    """

    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    lost: int = 0
    cpu_s: float = 0.0

    @property
    def requests_per_s(self) -> float:
        """Good answers by second of wall time."""
        return len(self.latencies_s) / self.seconds

    @property
    def failed(self) -> int:
        """Requests that were not answered with 200."""
        return self.lost + sum(count for status, count in self.statuses.items() if status != 200)

    def percentile_ms(self, share: float) -> float:
        """Latency in milliseconds that this share of the good answers stayed under; NaN if there is none."""
        if not self.latencies_s:
            return float("nan")
        ordered = sorted(self.latencies_s)
        return 1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def count(self, status: int, latency_s: float) -> None:
        """Take an answer in."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status == 200:
            self.latencies_s.append(latency_s)


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go."""

    host: str
    port: int


class Connection(asyncio.Protocol):
    """One connection with at most one request on it; answers must have a ``Content-Length``, as Ingrain's do."""

    def __init__(self, answered: Callable[[Connection, int], None], lost: Callable[[Connection], None]) -> None:
        self._answered = answered
        self._lost = lost
        self._buffer = b""
        self._transport: asyncio.Transport
        self.is_open = True
        self.sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes, sent_at: float) -> None:
        """Send a request; the latency counts from ``sent_at``."""
        self.sent_at = sent_at
        self._transport.write(request)

    def close(self) -> None:
        """Close the connection."""
        self.is_open = False
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Look whether the answer is whole."""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        at = self._buffer.lower().find(b"content-length: ", 0, end)
        length = int(self._buffer[at + 16 : self._buffer.index(b"\r", at)]) if at >= 0 else 0
        if len(self._buffer) < end + 4 + length:
            return
        status = int(self._buffer[9:12])
        self._buffer = self._buffer[end + 4 + length :]
        self._answered(self, status)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits, unless we closed it."""
        del exc
        if self.is_open:
            self.is_open = False
            self._lost(self)


def http_request(path: str, body: object, *, api_key: str | None = None) -> bytes:
    """Return a POST with a JSON body as bytes."""
    content = orjson.dumps(body)
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: bench",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
    ]
    if api_key is not None:
        lines.append(f"Authorization: Bearer {api_key}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content


async def closed_loop(target: Target, requests: Sequence[bytes], *, clients: int, seconds: float) -> LoadResult:
    """Keep ``clients`` requests in progress, walking through the prepared ones in turn.

    Raises:
        OSError: The server cannot be reached.
    """
    loop = asyncio.get_running_loop()
    feed, result = itertools.cycle(requests), LoadResult()
    started, cpu = time.perf_counter(), time.process_time()
    until = started + seconds
    done = loop.create_future()
    working = clients

    def next_request(connection: Connection) -> None:
        nonlocal working
        now = time.perf_counter()
        if now < until:
            connection.send(next(feed), now)
            return
        connection.close()
        working -= 1
        if not working:
            done.set_result(None)

    def answered(connection: Connection, status: int) -> None:
        result.count(status, time.perf_counter() - connection.sent_at)
        next_request(connection)

    def lost(connection: Connection) -> None:
        nonlocal working
        del connection
        result.lost += 1
        working -= 1
        if not working:
            done.set_result(None)

    for connection in await _connect(target, clients, answered, lost):
        next_request(connection)
    async with asyncio.timeout(seconds + _LAST_ANSWERS_S):
        await done
    result.seconds = time.perf_counter() - started
    result.cpu_s = time.process_time() - cpu
    return result


async def open_loop(
    target: Target, requests: Sequence[bytes], *, rate: float, seconds: float, connections: int, seed: int = 7
) -> LoadResult:
    """Send requests at random moments (Poisson), ``rate`` a second on average, whether the server keeps up or not.

    Args:
        target: The server.
        requests: Prepared ones, walked through in turn.
        rate: Requests a second.
        seconds: How long requests are sent; the last answers are waited for.
        connections: Requests that may be on their way at once; more wait here, and their latency grows.
        seed: Decides the moments.

    Raises:
        OSError: The server cannot be reached.
    """
    feed, result = itertools.cycle(requests), LoadResult()
    waiting: deque[float] = deque()
    free: list[Connection] = []
    open_count = connections
    all_done = asyncio.Event()

    def serve() -> None:
        while waiting and free:
            free.pop().send(next(feed), waiting.popleft())

    def answered(connection: Connection, status: int) -> None:
        result.count(status, time.perf_counter() - connection.sent_at)
        free.append(connection)
        serve()
        all_done.set()

    def lost(connection: Connection) -> None:
        nonlocal open_count
        if connection in free:
            free.remove(connection)
        else:
            result.lost += 1
        open_count -= 1
        all_done.set()

    free += await _connect(target, connections, answered, lost)
    started, cpu = time.perf_counter(), time.process_time()
    for moment in _moments(rate, seconds, seed):
        pause = started + moment - time.perf_counter()
        if pause > 0:
            await asyncio.sleep(pause)
        waiting.append(started + moment)
        serve()
    deadline = time.perf_counter() + _LAST_ANSWERS_S
    while (waiting or len(free) < open_count) and open_count and time.perf_counter() < deadline:
        all_done.clear()
        try:
            await asyncio.wait_for(all_done.wait(), 1.0)
        except TimeoutError:
            continue
    result.lost += len(waiting) + open_count - len(free)
    result.seconds = time.perf_counter() - started
    result.cpu_s = time.process_time() - cpu
    for connection in free:
        connection.close()
    return result


def _moments(rate: float, seconds: float, seed: int) -> Iterator[float]:
    numbers = random.Random(seed)  # noqa: S311 - the same moments in every run
    moment = numbers.expovariate(rate)
    while moment < seconds:
        yield moment
        moment += numbers.expovariate(rate)


async def _connect(
    target: Target, count: int, answered: Callable[[Connection, int], None], lost: Callable[[Connection], None]
) -> list[Connection]:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(_CONNECT_TIMEOUT_S):
        return [
            (await loop.create_connection(lambda: Connection(answered, lost), target.host, target.port))[1]
            for _ in range(count)
        ]
