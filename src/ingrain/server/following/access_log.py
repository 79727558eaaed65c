"""Writes a line for requests that have ended, in a thread, so that a slow reader of the log delays no request."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Literal

from ingrain.server.following.exchange import FollowedExchange

_EVERY_S = 0.1
_MOST_WAITING = 20_000
_LAST_LINES_S = 2.0
_ALWAYS = frozenset((429, *range(500, 600)))

Facts = Mapping[str, object]
"""What a line says: ``time`` in seconds since 1970, then names and values; "" and None are left out."""


class AccessLog:
    """Chooses the requests that are logged, and hands them in groups to the thread that writes them.

    Args:
        write: Writes some lines; may block.
        sample: A line is written of one in so many requests; of all with status 429 or 5xx.
    """

    def __init__(self, write: Callable[[list[Facts]], None], sample: int = 1) -> None:
        self._write = write
        self._sample = sample
        self._seen = 0
        self._facts: list[Facts] = []
        self._groups: queue.SimpleQueue[list[Facts] | None] = queue.SimpleQueue()
        self._handed = self._written = 0  # lines, counted by the event loop and by the thread
        self._left_out = 0
        self._flushing: asyncio.TimerHandle | None = None
        self._thread: threading.Thread | None = None

    def add(self, exchange: FollowedExchange) -> None:
        """Log a request that has ended, if it is chosen."""
        self._seen += 1
        if self._seen % self._sample and exchange.status not in _ALWAYS:
            return
        if len(self._facts) + self._handed - self._written >= _MOST_WAITING:
            self._left_out += 1
            return
        self._facts.append(facts_of(exchange))
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_later(_EVERY_S, self._flush)

    def close(self) -> None:
        """Write the last lines; wait at most two seconds for that."""
        if self._flushing is not None:
            self._flushing.cancel()
        self._flush()
        if self._thread is not None:
            self._groups.put(None)
            self._thread.join(_LAST_LINES_S)

    def _flush(self) -> None:
        self._flushing = None
        if self._left_out:
            self._facts.append({"time": time.time(), "message": "lines were left out", "leftOut": self._left_out})
            self._left_out = 0
        if not self._facts:
            return
        self._handed += len(self._facts)
        self._groups.put(self._facts)
        self._facts = []
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_groups, name="access log", daemon=True)
            self._thread.start()

    def _write_groups(self) -> None:
        while (group := self._groups.get()) is not None:
            try:
                self._write(group)
            except OSError:
                pass  # nobody reads the log any more
            self._written += len(group)


def facts_of(exchange: FollowedExchange) -> Facts:
    """Return what is logged of a request; nothing that its caller has written, but for its request id."""
    line, route = exchange.timeline, exchange.route
    return {
        "time": time.time(),
        "message": f"{route.method} {route.path} {exchange.status}",
        "requestId": exchange.request_id,
        "key": exchange.key.name if exchange.key is not None else None,
        "method": route.method,
        "route": route.path,
        "status": exchange.status,
        "ms": _ms(exchange.ended - line.begun),
        "model": line.model,
        "task": line.task,
        "items": line.items or None,
        "tokens": line.tokens or None,
        "receivedBytes": exchange.received_bytes,
        "sentBytes": exchange.sent_bytes,
        "stagesMs": {name: _ms(stage.busy_s) for name, stage in line.stages.items()} or None,
    }


def access_log_of(
    mode: Literal["off", "sampled", "all"], sample: int, write: Callable[[list[Facts]], None]
) -> AccessLog | None:
    """Return the access log of a mode: of one in ``sample`` requests, of all, or none."""
    if mode == "off":
        return None
    return AccessLog(write, sample if mode == "sampled" else 1)


def _ms(seconds: float) -> float:
    return round(1e3 * seconds, 3)
