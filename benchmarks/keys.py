"""Measures named keys: what a request costs, how exactly limits hold over a minute, and a rotation under load.

The cost is CPU time in this process, of all that a limited key adds to a request: its look-up, both windows, the tokens
and the headers. Limits and rotation are measured on a real server with 64 clients that ask again soon after a refusal;
with ``--model`` they embed texts, and the limit of tokens is measured, too.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Iterator
from pathlib import Path

import httpx

from ingrain.server.keys.entry import KeyEntry, digest_of
from ingrain.server.keys.file import change_keys
from ingrain.server.keys.named import KnownKey, NamedKeys
from ingrain.server.keys.windows import WindowTable
from ingrain.server.plane.auth import KeyRing
from measure import common_options, print_report
from server import free_ports

_TEXT = "a river that runs to the sea"
_CALLS, _REPEATS = 1_000, 60
_PAUSE_S = 0.3
_PARTS = ["cost", "rotation", "requests", "tokens"]


def secret(name: str) -> str:
    return f"key-of-{name}-{'0123456789abcdef' * 2}"


def entry(name: str, **limits: int) -> KeyEntry:
    return KeyEntry(name=name, sha256=digest_of(secret(name).encode()).hex(), scopes=("infer",), **limits)


def cost_us(writers: int) -> dict[str, float]:
    """Return microseconds of CPU for each step of a request with a limited key, in one of so many processes."""
    keys = [entry(f"k{n}", requests_per_minute=10**9, tokens_per_minute=10**9) for n in range(100)]
    named = NamedKeys(WindowTable.alone() if writers == 1 else WindowTable.shared(writers))
    named.replace(KnownKey(key, number) for number, key in enumerate(keys))
    ring, authorization = KeyRing({}, named), f"Bearer {secret('k50')}".encode()
    key = ring.check("infer", authorization)

    def request() -> None:
        found = ring.check("infer", authorization)
        found.take_request()
        found.take_tokens(8)
        found.add_headers({})

    steps = {
        "look-up": lambda: ring.check("infer", authorization),
        "take a request": key.take_request,
        "take tokens": lambda: key.take_tokens(8),
        "headers": lambda: key.add_headers({}),
        "all": request,
    }
    return {
        name: round(1e6 * min(timeit.repeat(step, timer=time.process_time, number=_CALLS, repeat=_REPEATS)) / _CALLS, 2)
        for name, step in steps.items()
    }


@contextlib.contextmanager
def serving(options: argparse.Namespace, workers: int, keys: Path) -> Iterator[str]:
    """Run ``ingrain serve`` and yield the URL of its inference plane."""
    ports = free_ports(2)
    flags = {
        "repository": options.repository,
        "local-models-dir": options.models_dir,
        "models": options.model,
        "inference-port": ports[0],
        "model-port": ports[1],
        "keys-file": keys,
        "workers": workers,
        "cache-bytes": 0,
        "log-level": "warning",
    }
    arguments = [f"--{flag}={value}" for flag, value in flags.items() if value]
    process = subprocess.Popen([sys.executable, "-m", "ingrain", "serve", *arguments], stdout=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    url = f"http://127.0.0.1:{ports[0]}"
    try:
        deadline = time.monotonic() + 300
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{url}/ready").status_code == 200:
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the server did not become ready")
            time.sleep(0.2)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


class Clients:
    """Sends requests with one key from many clients, each on a connection of its own, until told to stop."""

    def __init__(self, url: str, model: str, count: int) -> None:
        self.key = ""
        self.times: list[float] = []
        self.statuses: dict[int, int] = {}
        self._url, self._model, self._count = url, model, count
        self._is_stopped = False
        self._tls = ssl.create_default_context()  # unused, and slow to make for each client

    async def run(self, seconds: float) -> None:
        tasks = [asyncio.create_task(self._ask()) for _ in range(self._count)]
        await asyncio.sleep(seconds)
        self._is_stopped = True
        await asyncio.gather(*tasks)

    async def _ask(self) -> None:
        async with httpx.AsyncClient(base_url=self._url, timeout=60, trust_env=False, verify=self._tls) as client:
            while not self._is_stopped:
                headers = {"authorization": f"Bearer {secret(self.key)}"}
                if self._model:
                    body = {"name": self._model, "text": _TEXT}
                    answer = await client.post("/embed_text", json=body, headers=headers)
                else:
                    answer = await client.get("/v1/models", headers=headers)
                self.statuses[answer.status_code] = self.statuses.get(answer.status_code, 0) + 1
                if answer.status_code == 200:
                    self.times.append(time.monotonic())
                else:
                    assert "retry-after" in answer.headers or answer.status_code != 429
                    await asyncio.sleep(_PAUSE_S)


def most_in_a_minute(times: list[float]) -> int:
    """Return the largest number of answers within 60 s."""
    first = most = 0
    for index, now in enumerate(times):
        while now - times[first] >= 60:
            first += 1
        most = max(most, index - first + 1)
    return most


async def limit(url: str, options: argparse.Namespace, key: str, limit: int, cost: int) -> dict[str, object]:
    clients = Clients(url, options.model, options.clients)
    clients.key = key
    await clients.run(options.seconds)
    times = sorted(clients.times)
    most = cost * most_in_a_minute(times)
    return {
        "limit": limit,
        "mostInAMinute": most,
        "ofTheLimit": round(most / limit, 4),
        "firstMinute": cost * sum(now < times[0] + 60 for now in times),
        "in all": cost * len(times),
        "statuses": clients.statuses,
    }


async def rotation(url: str, options: argparse.Namespace, path: Path) -> dict[str, object]:
    clients = Clients(url, options.model, options.clients)
    clients.key = "old"
    running = asyncio.create_task(clients.run(20))
    await asyncio.sleep(3)
    change_keys(path, lambda keys: (*keys, entry("new")))
    added = time.monotonic()
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        for header in [{"authorization": f"Bearer {secret('new')}"}] * 1000:
            if (await client.get("/v1/models", headers=header)).status_code == 200:
                break
            await asyncio.sleep(0.05)
    first_s = time.monotonic() - added
    await asyncio.sleep(3)
    clients.key = "new"
    await asyncio.sleep(3)
    change_keys(path, lambda keys: tuple(key for key in keys if key.name != "old"))
    await running
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        header = {"authorization": f"Bearer {secret('old')}"}
        refused = (await client.get("/v1/models", headers=header)).status_code
    return {"statuses": clients.statuses, "newKeyAfterS": round(first_s, 2), "oldKeyAfterwards": refused}


def main() -> None:
    parser = common_options(__doc__, model="", clients=64, seconds=65.0)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--requests", type=int, default=3000, help="limit of requests per minute")
    parser.add_argument("--tokens", type=int, default=24_000, help="limit of tokens per minute, with --model")
    parser.add_argument("--parts", nargs="+", choices=_PARTS, default=_PARTS)
    options = parser.parse_args()
    report: dict[str, object] = {}
    if "cost" in options.parts:
        report = {f"costUs{writers}": cost_us(writers) for writers in (1, 4)}
        print(report, flush=True)
    for workers in () if options.parts == ["cost"] else options.workers:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "keys.json")
            first = (
                entry("few", requests_per_minute=options.requests),
                entry("small", tokens_per_minute=options.tokens),
                entry("old"),
            )
            change_keys(path, lambda _, first=first: first)
            with serving(options, workers, path) as url:
                found: dict[str, object] = {}
                if "rotation" in options.parts:
                    found["rotation"] = asyncio.run(rotation(url, options, path))
                if "requests" in options.parts:
                    found["requests"] = asyncio.run(limit(url, options, "few", options.requests, 1))
                if "tokens" in options.parts and options.model:
                    header = {"authorization": f"Bearer {secret('small')}"}
                    body = {"model": options.model, "input": _TEXT}
                    answer = httpx.post(f"{url}/v1/embeddings", json=body, headers=header).json()
                    cost = answer["usage"]["total_tokens"]
                    found["tokens"] = asyncio.run(limit(url, options, "small", options.tokens, cost))
                report[f"{workers} workers"] = found
                print(found, flush=True)
    print_report(report, options.output)


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
