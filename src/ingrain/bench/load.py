"""Sends prepared HTTP requests over raw connections, in a closed or open loop, at little CPU cost."""

from __future__ import annotations

import asyncio
import itertools
import random
import ssl
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

import orjson

_CONNECT_TIMEOUT_S = 10.0
_LAST_ANSWERS_S = 60.0

Answers = Literal["json", "base64", "raw"]
"""Format of vectors in responses: numbers in JSON, base64 in JSON, or raw float32."""


@dataclass(slots=True)
class LoadResult:
    """Measurements of one run of a loop.

    Attributes:
        seconds: Wall time until the last response.
        latencies_s: Latency of each response with status 200, from the time at which the request was sent. In an open
            loop from the time at which the request was due, so that a server that falls behind cannot hide its delay.
        answered_at_s: Time of each response with status 200, since the start of the loop.
        sent_for_s: Time during which requests were sent; the last responses arrived later.
        statuses: Number of responses by status.
        lost: Number of requests whose connection broke.
        cpu_s: CPU time of the load generator, which was not available to the server.
    """

    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    answered_at_s: list[float] = field(default_factory=list)
    sent_for_s: float = 0.0
    statuses: dict[int, int] = field(default_factory=dict)
    lost: int = 0
    cpu_s: float = 0.0

    @property
    def requests_per_s(self) -> float:
        """Responses with status 200 per second of wall time."""
        return len(self.latencies_s) / self.seconds

    def steady_requests_per_s(self, warm_up_s: float = 0.0, within_s: float = float("inf")) -> float:
        """Return responses with status 200 per second, in a window from ``warm_up_s`` until sending stopped.

        Responses arrive in batches, so a window with arbitrary ends may contain a batch more or less. To avoid that,
        each end moves back to the last response before it.

        Args:
            warm_up_s: Start of the window.
            within_s: Count only responses with at most this latency.
        """
        moments = sorted(zip(self.answered_at_s, self.latencies_s, strict=True))
        first = bisect_right(moments, (warm_up_s, float("inf"))) - 1
        last = bisect_right(moments, (self.sent_for_s, float("inf"))) - 1
        if last <= max(0, first):
            return 0.0
        began = moments[first][0] if first >= 0 else 0.0
        good = sum(latency <= within_s for _, latency in moments[first + 1 : last + 1])
        return good / (moments[last][0] - began)

    @property
    def failed(self) -> int:
        """Number of requests without a response of status 200."""
        return self.lost + sum(count for status, count in self.statuses.items() if status != 200)

    def percentile_ms(self, share: float) -> float:
        """Return a percentile of the latencies in milliseconds, for a share such as 0.99; NaN if there are none."""
        if not self.latencies_s:
            return float("nan")
        ordered = sorted(self.latencies_s)
        return 1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def count(self, status: int, latency_s: float, at_s: float) -> None:
        """Record a response."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status == 200:
            self.latencies_s.append(latency_s)
            self.answered_at_s.append(at_s)


@dataclass(frozen=True, slots=True)
class Target:
    """Address of the server; ``tls`` makes connections use TLS."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None


class Connection(asyncio.Protocol):
    """A connection with at most one request in progress. Responses must have a ``Content-Length``."""

    def __init__(self, answered: Callable[[Connection, int], None], lost: Callable[[Connection], None]) -> None:
        self._answered = answered
        self._lost = lost
        self._buffer = bytearray()
        self._status = 0
        self._whole = 0  # size of the response including headers; 0 until the headers are complete
        self._transport: asyncio.Transport
        self.is_open = True
        self.sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
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
        """Call ``answered`` when the response is complete. Headers are parsed once, as bodies may have 100 MB."""
        self._buffer += data
        if not self._whole:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._buffer[: end + 2]).lower()
            at = head.find(b"\r\ncontent-length:")
            length = int(head[at + 17 : head.index(b"\r", at + 17)]) if at >= 0 else 0
            self._status, self._whole = int(head[9:12]), end + 4 + length
        if len(self._buffer) >= self._whole:
            del self._buffer[: self._whole]
            self._whole = 0
            self._answered(self, self._status)

    def connection_lost(self, exc: Exception | None) -> None:
        """Call ``lost``, unless this side has closed the connection."""
        del exc
        if self.is_open:
            self.is_open = False
            self._lost(self)


def http_request(
    path: str, body: object, *, api_key: str | None = None, accept: str | None = None, cached: bool = True
) -> bytes:
    """Encode a POST request with a JSON body.

    Args:
        path: The route.
        body: The body, to be encoded as JSON.
        api_key: API key of the server.
        accept: ``Accept`` header; omitted if None.
        cached: False to have the server compute what it has in its cache.
    """
    content = orjson.dumps(body)
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
    ]
    if accept is not None:
        lines.append(f"Accept: {accept}")
    if not cached:
        lines.append("Cache-Control: no-store")
    if api_key is not None:
        lines.append(f"Authorization: Bearer {api_key}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content


def embedding_request(
    path: str, body: Mapping[str, object], answers: Answers, *, api_key: str | None = None, cached: bool = True
) -> bytes:
    """Encode a request for vectors.

    Args:
        path: ``/embed_text`` or ``/embed_image``.
        body: Fields of the request.
        answers: Format of the vectors in the response.
        api_key: API key of the server.
        cached: As in ``http_request``.
    """
    if answers == "base64":
        body = {**body, "encodingFormat": "base64"}
    accept = "application/octet-stream" if answers == "raw" else None
    return http_request(path, body, api_key=api_key, accept=accept, cached=cached)


async def closed_loop(target: Target, requests: Sequence[bytes], *, clients: int, seconds: float | None) -> LoadResult:
    """Keep ``clients`` requests in progress for ``seconds``, cycling through the prepared requests.

    Args:
        target: The server.
        requests: Prepared requests, sent in turn.
        clients: Requests in progress.
        seconds: Time during which requests are sent; None: until each was sent once, however long that takes.

    Raises:
        OSError: The server cannot be reached.
    """
    loop = asyncio.get_running_loop()
    feed = iter(requests) if seconds is None else itertools.cycle(requests)
    result = LoadResult()
    started = until = 0.0
    done = loop.create_future()
    working = clients

    def stop_client() -> None:
        nonlocal working
        working -= 1
        if not working:
            done.set_result(None)

    def next_request(connection: Connection) -> None:
        now = time.perf_counter()
        request = next(feed, None) if now < until else None
        if request is not None:
            connection.send(request, now)
            return
        connection.close()
        stop_client()

    def answered(connection: Connection, status: int) -> None:
        now = time.perf_counter()
        result.count(status, now - connection.sent_at, now - started)
        next_request(connection)

    def lost(connection: Connection) -> None:
        del connection
        result.lost += 1
        stop_client()

    connections = await _connect(target, clients, answered, lost)
    started, cpu = time.perf_counter(), time.process_time()
    until = started + (seconds if seconds is not None else float("inf"))
    for connection in connections:
        next_request(connection)
    async with asyncio.timeout(None if seconds is None else seconds + _LAST_ANSWERS_S):
        await done
    result.sent_for_s = seconds if seconds is not None else time.perf_counter() - started
    result.seconds = time.perf_counter() - started
    result.cpu_s = time.process_time() - cpu
    return result


async def open_loop(
    target: Target, requests: Sequence[bytes], *, rate: float, seconds: float, connections: int, seed: int = 7
) -> LoadResult:
    """Send requests as a Poisson process of ``rate`` per second, whether the server keeps up or not.

    Args:
        target: The server.
        requests: Prepared requests, sent in turn.
        rate: Requests per second on average.
        seconds: Time during which requests are sent; the loop then waits for the last responses.
        connections: Limit of requests in progress. Further requests wait here, which counts as latency.
        seed: Seed of the random send times.

    Raises:
        OSError: The server cannot be reached.
    """
    feed, result = itertools.cycle(requests), LoadResult()
    waiting: deque[float] = deque()
    free: list[Connection] = []
    open_count, started = connections, 0.0
    all_done = asyncio.Event()

    def serve() -> None:
        while waiting and free:
            free.pop().send(next(feed), waiting.popleft())

    def answered(connection: Connection, status: int) -> None:
        now = time.perf_counter()
        result.count(status, now - connection.sent_at, now - started)
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
    result.sent_for_s = time.perf_counter() - started
    deadline = time.perf_counter() + _LAST_ANSWERS_S
    while (waiting or len(free) < open_count) and open_count and time.perf_counter() < deadline:
        all_done.clear()
        try:
            async with asyncio.timeout(1.0):
                await all_done.wait()
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
            (
                await loop.create_connection(
                    lambda: Connection(answered, lost), target.host, target.port, ssl=target.tls
                )
            )[1]
            for _ in range(count)
        ]
