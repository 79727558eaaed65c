"""What the front end alone costs: the real server on one core with an engine that answers at once.

Everything but the engine is real: sockets, HTTP, JSON, tokenizing, queues, batches, vectors of full width. The load
generator runs on another core; its cost is reported beside the server's.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import random
import time

import numpy as np
import psutil
import uvloop

from bare import median
from ingrain.bench.load import Target, closed_loop, http_request
from ingrain.bench.texts import make_texts
from measure import common_options, tell
from server import free_ports

_WIDEST = 4096


class NullEngine:
    """Answers every batch with the same rows, and takes no time for it."""

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

    async def load(self, graph) -> None:
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
    from ingrain.server import run
    from ingrain.settings import Settings

    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]})
    run.choose_engine = lambda *_: NullEngine()
    run.run(
        Settings(
            repository=options.repository,
            local_models_dir=options.models_dir,
            models=[options.model],
            inference_port=ports[0],
            model_port=ports[1],
            log_level="warning",
        )
    )


def main() -> None:
    options = _options()
    ports = free_ports(2)
    texts = make_texts("query", 20_000)
    requests = [http_request("/embed_text", {"name": options.model, "text": text}) for text in texts]
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(options, ports))
    server.start()
    try:
        asyncio.run(_until_ready(ports[0], requests[0]))
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})
        process = psutil.Process(server.pid)
        rates, costs, own = [], [], []
        for number in range(options.rounds):
            random.shuffle(requests)
            before = sum(process.cpu_times()[:2])
            result = uvloop.run(
                closed_loop(Target("127.0.0.1", ports[0]), requests, clients=options.clients, seconds=options.seconds)
            )
            assert set(result.statuses) == {200}, result.statuses
            answered = len(result.latencies_s)
            rates.append(result.requests_per_s)
            costs.append(1e6 * (sum(process.cpu_times()[:2]) - before) / answered)
            own.append(1e6 * result.cpu_s / answered)
            print(f"round {number + 1}: {rates[-1]:7.0f} requests/s, {costs[-1]:4.0f} µs a request")
    finally:
        server.terminate()
        server.join(10)
    report = {"clients": options.clients, "requestsPerS": median(rates), "cpuUsPerRequest": median(costs)}
    tell({**report, "loadGeneratorUsPerRequest": median(own)}, options.output)


def _options() -> argparse.Namespace:
    return common_options(__doc__, model="all-MiniLM-L6-v2", clients=64, seconds=2.0).parse_args()


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
