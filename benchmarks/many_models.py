"""Serves more models than fit into memory to clients that choose among them by a Zipf law.

One model is converted, and its entry is copied under as many names as there are models. Then a server with
``INGRAIN_MODEL_MEMORY`` and ``INGRAIN_LOAD_ON_DEMAND`` gets requests for single texts; the client tries again what is
answered with 429 or 503 and ``Retry-After``. Every vector is compared with the one of the first model. The resident
memory of the processes that run graphs is read each second.

Run with ``PYTHONPATH=src:tests/support python benchmarks/many_models.py``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import shutil
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from ingrain.bench.server_side import role_of
from measure import common_options, print_report, run_facts
from model_copies import copy_models
from server import Server, running_server

_TEXTS = 64
_MOST_TRIES = 60


def main() -> None:
    options = _options()
    copies = Path(f"{options.repository}-many")
    with running_server(options.repository, options.models_dir, options.model) as server:
        texts = [f"text number {number} of the benchmark, with {number % 7} more words" for number in range(_TEXTS)]
        expected = _vectors(server, options.model, texts)
    shutil.rmtree(copies, ignore_errors=True)
    names = copy_models(options.repository, copies, options.model, options.count)
    environment = {
        "INGRAIN_MODEL_MEMORY": options.memory,
        "INGRAIN_LOAD_ON_DEMAND": "true",
        "INGRAIN_LOG_LEVEL": "info",
        **({"INGRAIN_LONE_REQUEST_THREADS": "1"} if options.no_lone else {}),
    }
    with running_server(copies, options.models_dir, names[0], **environment) as server:
        report = asyncio.run(_load(server, names, texts, expected, options))
    print_report({**run_facts(options.model), **report}, options.output)


async def _load(
    server: Server, names: list[str], texts: list[str], expected: np.ndarray, options: argparse.Namespace
) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    latencies: list[tuple[float, int]] = []
    samples: list[tuple[float, int, float]] = []
    weights = [1 / rank**options.exponent for rank in range(1, len(names) + 1)]
    ends = time.monotonic() + options.seconds
    limits = httpx.Limits(max_connections=options.clients)
    base = f"http://127.0.0.1:{server.inference_port}"

    async def client(number: int, http: httpx.AsyncClient) -> None:
        choice = random.Random(number)
        while time.monotonic() < ends:
            name, place = choice.choices(names, weights)[0], choice.randrange(len(texts))
            began, tries = time.monotonic(), 0
            while True:
                tries += 1
                answer = await http.post("/embed_text", json={"name": name, "text": texts[place]})
                if answer.status_code not in (429, 503) or tries > _MOST_TRIES:
                    break
                counts[f"retried {answer.status_code}"] += 1
                await asyncio.sleep(min(5.0, float(answer.headers.get("retry-after", "1"))))
            latencies.append((time.monotonic() - began, tries))
            if answer.status_code != 200:
                counts[f"failed {answer.status_code}"] += 1
                print(answer.status_code, answer.text[:300], flush=True)
                continue
            vector = np.asarray(answer.json()["embeddings"][0])
            counts["right" if np.abs(vector - expected[place]).max() < 1e-5 else "wrong"] += 1
            if options.think_s:
                await asyncio.sleep(choice.expovariate(1 / options.think_s))

    async def watch() -> None:
        while True:
            samples.append(_memory(server))
            await asyncio.sleep(1)

    watching = asyncio.create_task(watch())
    async with httpx.AsyncClient(base_url=base, timeout=120, limits=limits, trust_env=False) as http:
        await asyncio.gather(*(client(number, http) for number in range(options.clients)))
        text = (await http.get("/metrics", headers={"Accept": "text/plain"})).text
    watching.cancel()
    moves = {
        line.split('"')[1]: int(float(line.split()[-1]))
        for line in text.splitlines()
        if line.startswith("ingrain_model_moves_total{")
    }
    seconds = sorted(one for one, _ in latencies)
    loads = moves.get("demand", 0)
    return {
        "models": len(names),
        "memory": options.memory,
        "clients": options.clients,
        "thinkS": options.think_s,
        "exponent": options.exponent,
        "seconds": options.seconds,
        "answers": dict(counts),
        "requestsWithRetries": sum(tries > 1 for _, tries in latencies),
        "moves": moves,
        "hitRate": round(1 - loads / max(1, len(latencies)), 4),
        "latencyS": {
            "p50": round(statistics.median(seconds), 3),
            "p90": round(seconds[int(0.9 * len(seconds))], 3),
            "p99": round(seconds[int(0.99 * len(seconds))], 3),
            "longest": round(seconds[-1], 3),
        },
        "graphs": {
            "mostProcesses": max(count for _, count, _ in samples),
            "mostResidentMiB": round(max(resident for resident, _, _ in samples)),
            "medianResidentMiB": round(statistics.median(resident for resident, _, _ in samples)),
        },
        "tritonserverMiB": [round(samples[0][2]), round(samples[-1][2])],
        "memorySamples": len(samples),
    }


def _memory(server: Server) -> tuple[float, int, float]:
    """Return the resident MiB of the processes that run graphs, their number, and the MiB of tritonserver."""
    resident, count, triton = 0.0, 0, 0.0
    for child in psutil.Process(server.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
            size, role = child.memory_info().rss / 1024**2, role_of(child)
            if role == "graphs":
                resident, count = resident + size, count + 1
            elif role == "tritonserver":
                triton += size
    return resident, count, triton


def _vectors(server: Server, model: str, texts: list[str]) -> np.ndarray:
    answer = httpx.post(
        f"http://127.0.0.1:{server.inference_port}/embed_text", json={"name": model, "text": texts}, timeout=120
    )
    return np.asarray(json.loads(answer.text)["embeddings"])


def _options() -> argparse.Namespace:
    parser = common_options(__doc__, model="all-MiniLM-L6-v2", clients=4, seconds=600)
    parser.add_argument("--count", type=int, default=20, help="number of models")
    parser.add_argument("--memory", default="1720MiB", help="INGRAIN_MODEL_MEMORY of the server")
    parser.add_argument("--exponent", type=float, default=1.0, help="of the Zipf law")
    parser.add_argument("--think-s", type=float, default=0.0, help="mean pause of a client between two requests")
    parser.add_argument("--no-lone", action="store_true", help="without the session for lone batches")
    return parser.parse_args()


if __name__ == "__main__":
    main()
