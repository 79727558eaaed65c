"""Reads batch counters from the server's metrics, and the CPU time of the server's processes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import httpx

from ingrain.roles import ROLES

_SAMPLE = re.compile(
    r'^(ingrain_(?:batch\w*|cache_items))_total\{model="(?P<model>(?:[^"\\]|\\.)*)"'
    r'(?:,result="(?P<result>\w+)")?\} (?P<value>\S+)$',
    re.MULTILINE,
)

_WORKER = "ingrain.app.workers.worker"


@dataclass(frozen=True, slots=True)
class ServerCounts:
    """Counters of a model at one time.

    Attributes:
        batches: Batches sent to the engine.
        items: Items in these batches.
        tokens: Tokens in these batches, without padding.
        padded_tokens: Tokens in these batches, with padding.
        cache_hits: Items that were in the cache, or that another request was computing.
        looked_up: Items that were looked up in the cache.
        cpu_s: CPU seconds by process name, if the server runs on this machine.
    """

    batches: float = 0
    items: float = 0
    tokens: float = 0
    padded_tokens: float = 0
    cache_hits: float = 0
    looked_up: float = 0
    cpu_s: dict[str, float] = field(default_factory=dict)

    def since(self, before: ServerCounts) -> ServerCounts:
        """Return the difference from ``before``."""
        return ServerCounts(
            self.batches - before.batches,
            self.items - before.items,
            self.tokens - before.tokens,
            self.padded_tokens - before.padded_tokens,
            self.cache_hits - before.cache_hits,
            self.looked_up - before.looked_up,
            {name: self.cpu_s[name] - before.cpu_s.get(name, 0.0) for name in self.cpu_s},
        )


def read_counts(client: httpx.Client, model: str, port: int, *, is_local: bool) -> ServerCounts | None:
    """Read the metrics; None if the server has none of Ingrain, or the API key lacks the scope ``metrics``."""
    answer = client.get("/metrics", headers={"Accept": "text/plain"})
    if answer.status_code != 200:
        return None
    values: dict[str, float] = {}
    for match in _SAMPLE.finditer(answer.text):
        # One of several graphs of a model is counted as NAME/ROLE.
        owner, _, role = match["model"].rpartition("/")
        if model in (match["model"], owner if role in ROLES else None):
            name = f"{match[1]} {match['result']}" if match["result"] else match[1]
            values[name] = values.get(name, 0.0) + float(match["value"])
    if not values:
        return None
    hits, joined, missed = (values.get(f"ingrain_cache_items {result}", 0.0) for result in ("hit", "joined", "miss"))
    return ServerCounts(
        batches=values.get("ingrain_batches", 0.0),
        items=values.get("ingrain_batch_items", 0.0),
        tokens=values.get("ingrain_batch_tokens", 0.0),
        padded_tokens=values.get("ingrain_batch_padded_tokens", 0.0),
        cache_hits=hits + joined,
        looked_up=hits + joined + missed,
        cpu_s=cpu_by_process(port) if is_local else {},
    )


def cpu_by_process(port: int) -> dict[str, float]:
    """Return CPU seconds by name, of the process that listens on a port and of its descendants; empty if unknown.

    Needs the package psutil, which a client installation does not have.
    """
    try:
        import psutil
    except ModuleNotFoundError:
        return {}
    try:
        listeners = [
            one.pid
            for one in psutil.net_connections("tcp")
            if one.status == psutil.CONN_LISTEN and one.laddr.port == port
        ]
        if not listeners or listeners[0] is None:
            return {}
        front = psutil.Process(listeners[0])
        used = {"front end": _seconds(front)}
        for child in front.children(recursive=True):
            name = role_of(child)
            used[name] = used.get(name, 0.0) + _seconds(child)
    except psutil.Error:
        return {}
    return used


def role_of(process: Any) -> str:
    """Return the name in the report for a child process of the server, a ``psutil.Process``."""
    if "stub" in process.name():
        return "graphs"
    return "front end" if _WORKER in process.cmdline() else str(process.name())


def _seconds(process: Any) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
