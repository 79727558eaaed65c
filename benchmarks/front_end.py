"""Measures the front end alone: the real server on one core, with an engine that responds at once.

All but the engine is real: sockets, HTTP, JSON, tokenizing, queues, batches, vectors of full width. The load generator
runs on another core, and its cost is reported, too. A baseline of thirty lines, which only reads, decodes, tokenizes,
encodes and writes, is measured in turn with the server where a request has one text: no Python server can cost less.
``--texts`` puts many texts into a request, and ``--other`` measures another version of Ingrain in turn instead.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
import orjson
import psutil
import uvloop

from bare import median
from ingrain.api.types import EmbedTextRequest
from ingrain.bench.load import Answers, LoadResult, Target, closed_loop, embedding_request
from ingrain.bench.texts import Mix, make_texts
from ingrain.preprocess.text import TextPreprocessor
from ingrain.repository.manifest import TextPreprocess
from ingrain.repository.names import model_key
from ingrain.repository.store import Repository
from measure import StolenTime, common_options, print_report
from server import free_ports

_LITTLE_STOLEN = 0.05
_THIS = Path(__file__).parents[1] / "src"


def serve_least(folder: Path, config: TextPreprocess, port: int) -> None:
    """Run the baseline on the same core."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]})
    tokenizer, decode = TextPreprocessor(config, folder), msgspec.json.Decoder(EmbedTextRequest).decode
    rows = np.random.default_rng(0).normal(size=(1, 384)).astype(np.float32)

    class Least(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            body = decode(data[data.index(b"\r\n\r\n") + 4 :])
            tokenizer.encode([body.text])
            answer = orjson.dumps({"embeddings": rows, "processingTimeMs": 1.0}, option=orjson.OPT_SERIALIZE_NUMPY)
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(answer) + answer)

    async def run() -> None:
        await (await asyncio.get_running_loop().create_server(Least, "127.0.0.1", port)).serve_forever()

    uvloop.run(run())


class Load:
    """Puts load on a server process in several rounds, and collects the results."""

    def __init__(self, process: int, port: int, options: argparse.Namespace) -> None:
        self._process = psutil.Process(process)
        self._target, self._options = Target("127.0.0.1", port), options
        self.rates, self.costs_us, self.own_us, self.stolen = [], [], [], []

    def run(self, requests: list[bytes]) -> str:
        before, stolen = sum(self._process.cpu_times()[:2]), StolenTime()
        result = uvloop.run(self._load(requests))
        assert set(result.statuses) == {200}, result.statuses
        self.stolen.append(stolen.share())
        answered = len(result.latencies_s)
        self.rates.append(result.requests_per_s)
        self.costs_us.append(1e6 * (sum(self._process.cpu_times()[:2]) - before) / answered)
        self.own_us.append(1e6 * result.cpu_s / answered)
        return (
            f"{self.rates[-1]:6.0f} requests/s, {self.costs_us[-1]:4.0f} µs a request, "
            f"{100 * self.stolen[-1]:2.0f} % stolen"
        )

    async def _load(self, requests: list[bytes]) -> LoadResult:
        options = self._options
        return await closed_loop(self._target, requests, clients=options.clients, seconds=options.seconds)

    def report(self) -> dict[str, Any]:
        quiet = [number for number, share in enumerate(self.stolen) if share <= _LITTLE_STOLEN]
        texts = self._options.texts
        return {
            "requestsPerS": median(self.rates),
            "cpuUsPerRequest": median(self.costs_us),
            "textsPerS": texts * median(self.rates),
            "textsPerCpuS": 1e6 * texts / median(self.costs_us),
            "stolenShare": median(self.stolen),
            "quiet": {
                "rounds": len(quiet),
                "requestsPerS": median([self.rates[number] for number in quiet]) if quiet else None,
                "cpuUsPerRequest": median([self.costs_us[number] for number in quiet]) if quiet else None,
            },
        }


def main() -> None:
    options = _options()
    requests = _requests(options)
    loads: dict[str, Load] = {}
    spawn = multiprocessing.get_context("spawn")
    with contextlib.ExitStack() as stack:
        sources = {"frontEnd": _THIS} | ({"other": options.other} if options.other else {})
        for name, source in sources.items():
            ports = free_ports(2)
            server = stack.enter_context(null_server(options, ports, source))
            asyncio.run(until_ready(ports[0], requests[0]))
            loads[name] = Load(server.pid, ports[0], options)
        if options.texts == 1 and not options.other:
            entry = Repository(options.repository.resolve()).find(model_key(options.model, "sentence_transformers"))
            port = free_ports(1)[0]
            least = spawn.Process(target=serve_least, args=(entry.folder, entry.manifest.text, port))
            least.start()
            stack.callback(least.join, 10)
            stack.callback(least.terminate)
            asyncio.run(until_ready(port, requests[0]))
            loads["leastInJson"] = Load(least.pid, port, options)
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        for number in range(options.rounds):
            random.shuffle(requests)
            for name in list(loads) if number % 2 else list(loads)[::-1]:
                print(f"round {number + 1}, {name}: {loads[name].run(requests)}", flush=True)
    report: dict[str, Any] = {
        "clients": options.clients,
        "answers": options.answers,
        "textsPerRequest": options.texts,
        **{name: load.report() for name, load in loads.items()},
    }
    if options.other:
        this, other = report["frontEnd"], report["other"]
        report["thisToOther"] = {key: round(this[key] / other[key], 3) for key in ("requestsPerS", "cpuUsPerRequest")}
    report["loadGeneratorUsPerRequest"] = median(loads["frontEnd"].own_us)
    print_report(report, options.output)


def _requests(options: argparse.Namespace) -> list[bytes]:
    texts = make_texts(options.mix, 20_000)
    bodies = [texts[first : first + options.texts] for first in range(0, len(texts) - options.texts + 1, options.texts)]
    return [
        embedding_request(
            "/embed_text", {"name": options.model, "text": body if options.texts > 1 else body[0]}, options.answers
        )
        for body in bodies
    ]


@contextlib.contextmanager
def null_server(
    options: argparse.Namespace, ports: list[int], source: Path = _THIS, grpc_port: int = 0
) -> Iterator[subprocess.Popen]:
    """Run a version of the server on one core, with the null engine."""
    flags = {
        "repository": options.repository,
        "models-dir": options.models_dir,
        "model": options.model,
        "max-batch-size": options.max_batch_size,
        "cache-bytes": options.cache_bytes,
        "grpc-port": grpc_port,
    }
    process = subprocess.Popen(
        [
            *(sys.executable, Path(__file__).with_name("null_server.py"), "--ports", *map(str, ports)),
            *(f"--{flag}={value}" for flag, value in flags.items()),
        ],
        env={**os.environ, "PYTHONPATH": str(source.resolve())},
    )
    # A benchmark that gets a signal must also stop its servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def _options() -> argparse.Namespace:
    parser = common_options(__doc__, model="all-MiniLM-L6-v2", clients=64, seconds=2.0)
    parser.add_argument(
        "--answers", choices=get_args(Answers), default="json", help="format of the front end's vectors"
    )
    parser.add_argument("--cache-bytes", type=int, default=0, help="INGRAIN_CACHE_BYTES of the server")
    parser.add_argument("--texts", type=int, default=1, help="texts a request")
    parser.add_argument("--mix", choices=get_args(Mix), default="query", help="kind of texts, as in `ingrain bench`")
    parser.add_argument("--max-batch-size", type=int, default=0, help="largest batch; 0 for the server's default")
    parser.add_argument("--other", type=Path, help="`src` of another checkout, measured in turn with this one")
    return parser.parse_args()


async def until_ready(port: int, request: bytes) -> None:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        await asyncio.sleep(0.2)
        try:
            if 200 in (await closed_loop(Target("127.0.0.1", port), [request], clients=1, seconds=0.01)).statuses:
                return
        except OSError:
            continue
    raise SystemExit("the server did not become ready")


if __name__ == "__main__":
    main()
