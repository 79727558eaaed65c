"""Measures the front end alone: the real server on one core, with an engine that responds at once.

All but the engine is real: sockets, HTTP, JSON, tokenizing, queues, batches, vectors of full width. The load generator
runs on another core, and its cost is reported, too. A baseline of thirty lines, which only reads, decodes, tokenizes,
encodes and writes, is measured in turn with the server: no Python server can cost less.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import random
import time
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
import orjson
import psutil
import uvloop

from bare import median
from ingrain.api.types import EmbedTextRequest
from ingrain.bench.load import Answers, Target, closed_loop, embedding_request
from ingrain.bench.texts import make_texts
from ingrain.preprocess.text import TextPreprocessor
from ingrain.repository.manifest import TextPreprocess
from ingrain.repository.names import model_key
from ingrain.repository.store import Repository
from measure import StolenTime, common_options, print_report
from server import free_ports

_WIDEST = 4096
_LITTLE_STOLEN = 0.05


class NullEngine:
    """An engine that returns the same rows for every batch, without any computation."""

    backend = "python"
    instances = 2

    def __init__(self) -> None:
        self._rows = np.random.default_rng(0).normal(size=(_WIDEST, 384)).astype(np.float32)
        self._rows /= np.linalg.norm(self._rows, axis=1, keepdims=True)
        self._outputs: dict[str, tuple[str, int]] = {}

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def live(self) -> bool:
        return True

    async def load(self, graph, layout=None) -> None:
        del layout
        self._outputs[graph.name] = graph.outputs[0].name, graph.outputs[0].shape[-1]

    async def unload(self, name) -> None:
        self._outputs.pop(name, None)

    async def ready(self, name) -> bool:
        return name in self._outputs

    async def statistics(self) -> list:
        return []

    def on_restart(self, callback) -> None: ...

    async def infer(self, name, inputs, *, timeout_s=None, alone=False) -> dict:
        del timeout_s, alone
        output, width = self._outputs[name]
        await asyncio.sleep(0)
        return {output: self._rows[: len(next(iter(inputs.values()))), :width]}


def serve(options: argparse.Namespace, ports: list[int]) -> None:
    """Run the server on one core."""
    from ingrain.app import parts, run
    from ingrain.settings import Settings

    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]})
    parts.make_engine = lambda *_: NullEngine()
    run.run(
        Settings(
            repository=options.repository,
            local_models_dir=options.models_dir,
            models=[options.model],
            inference_port=ports[0],
            model_port=ports[1],
            log_level="warning",
            cache_bytes=options.cache_bytes,
        )
    )


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

    def __init__(self, process: multiprocessing.process.BaseProcess, port: int, options: argparse.Namespace) -> None:
        self._process = psutil.Process(process.pid)
        self._target, self._options = Target("127.0.0.1", port), options
        self.rates, self.costs_us, self.own_us, self.stolen = [], [], [], []

    def run(self, requests: list[bytes]) -> str:
        before, stolen = sum(self._process.cpu_times()[:2]), StolenTime()
        load = closed_loop(self._target, requests, clients=self._options.clients, seconds=self._options.seconds)
        result = uvloop.run(load)
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

    def report(self) -> dict[str, Any]:
        quiet = [number for number, share in enumerate(self.stolen) if share <= _LITTLE_STOLEN]
        return {
            "requestsPerS": median(self.rates),
            "cpuUsPerRequest": median(self.costs_us),
            "stolenShare": median(self.stolen),
            "quiet": {
                "rounds": len(quiet),
                "requestsPerS": median([self.rates[number] for number in quiet]) if quiet else None,
                "cpuUsPerRequest": median([self.costs_us[number] for number in quiet]) if quiet else None,
            },
        }


def main() -> None:
    options = _options()
    ports = free_ports(3)
    texts = make_texts("query", 20_000)
    requests = [
        embedding_request("/embed_text", {"name": options.model, "text": text}, options.answers) for text in texts
    ]
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=serve, args=(options, ports[:2]))]
    try:
        processes[0].start()
        asyncio.run(_until_ready(ports[0], requests[0]))
        entry = Repository(options.repository.resolve()).find(model_key(options.model, "sentence_transformers"))
        processes.append(spawn.Process(target=serve_least, args=(entry.folder, entry.manifest.text, ports[2])))
        processes[1].start()
        asyncio.run(_until_ready(ports[2], requests[0]))
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})
        front_end, least = Load(processes[0], ports[0], options), Load(processes[1], ports[2], options)
        for number in range(options.rounds):
            random.shuffle(requests)
            print(f"round {number + 1}: {front_end.run(requests)}; at least {least.run(requests)}", flush=True)
    finally:
        for process in processes:
            process.terminate()
            process.join(10)
    report = {
        "clients": options.clients,
        "answers": options.answers,
        **front_end.report(),
        "leastInJson": least.report(),
    }
    print_report({**report, "loadGeneratorUsPerRequest": median(front_end.own_us)}, options.output)


def _options() -> argparse.Namespace:
    parser = common_options(__doc__, model="all-MiniLM-L6-v2", clients=64, seconds=2.0)
    parser.add_argument("--cache-bytes", type=int, default=0, help="INGRAIN_CACHE_BYTES of the server")
    parser.add_argument(
        "--answers", choices=get_args(Answers), default="json", help="format of the front end's vectors"
    )
    return parser.parse_args()


async def _until_ready(port: int, request: bytes) -> None:
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
