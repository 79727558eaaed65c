"""Compares one call of `Client.embed_text` with many short texts to the load generator of `ingrain bench`, in turn.

The load generator uses raw connections and prepared bytes, and does not decode responses. It runs with one text per
request, its default, and with as many texts per request as the client sends. The ratio compares medians. At the end, a
separate process makes one large call and reports its memory.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import time

import uvloop

import ingrain
from bare import median
from ingrain.bench.load import Target, closed_loop, http_request
from ingrain.bench.texts import make_texts
from measure import CORES, common_options, print_report
from server import Server, running_server

_REQUEST = 64
_SIDE_BY_SIDE = 8
_ALL_AT_ONCE = r"""
import re, sys, time
import ingrain
from ingrain.bench.texts import make_texts
def peak_kib(): return int(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read())[1])
texts = make_texts("query", int(sys.argv[3]))
client = ingrain.Client(sys.argv[1], return_numpy=True)
client.embed_text(sys.argv[2], texts[:500])
before = peak_kib()
started = time.perf_counter()
rows = client.embed_text(sys.argv[2], texts).embeddings
seconds = time.perf_counter() - started
print(len(rows), seconds, (peak_kib() - before) / 1024, rows.nbytes / 2**20)
"""


def main() -> None:
    options = _options()
    texts = make_texts("query", options.texts)
    rates: dict[str, list[float]] = {"client": [], "bench": [], "benchBatches": []}
    cpu_s, embedded = 0.0, 0
    with (
        running_server(options.repository, options.models_dir, options.model) as server,
        ingrain.Client(f"http://127.0.0.1:{server.inference_port}", return_numpy=True) as client,
    ):
        count = _REQUEST * _SIDE_BY_SIDE
        for number in range(options.rounds + 1):
            random.shuffle(texts)
            used, started = time.process_time(), time.perf_counter()
            client.embed_text(options.model, texts[:count])
            rate = count / (time.perf_counter() - started)
            if number:
                rates["client"].append(rate)
                cpu_s, embedded = cpu_s + time.process_time() - used, embedded + count
                rates["bench"].append(_bench(server, options, texts, 1, options.clients))
                rates["benchBatches"].append(_bench(server, options, texts, _REQUEST, _SIDE_BY_SIDE))
                print(f"round {number}: " + ", ".join(f"{name} {all_[-1]:.0f}" for name, all_ in rates.items()))
            count = min(len(texts), max(count, int(rate * options.seconds)))
        whole = _all_at_once(server, options)
    medians = {name: median(found) for name, found in rates.items()}
    report = {
        "machine": f"{CORES} cores",
        "model": options.model,
        "itemsPerS": medians,
        "clientToBench": medians["client"] / medians["bench"],
        "clientToBenchInRequestsOfItsSize": medians["client"] / medians["benchBatches"],
        "clientCpuMsPerItem": 1e3 * cpu_s / embedded,
        "oneCall": whole,
    }
    print_report(report, options.output)


def _options() -> argparse.Namespace:
    parser = common_options(__doc__, model="all-MiniLM-L6-v2", clients=64)
    parser.add_argument("--texts", type=int, default=20_000, help="distinct texts of the rounds")
    parser.add_argument("--at-once", type=int, default=100_000, help="distinct texts of the one call at the end")
    return parser.parse_args()


def _bench(server: Server, options: argparse.Namespace, texts: list[str], batch: int, clients: int) -> float:
    """Return items per second of `ingrain bench` in a closed loop."""
    requests = [
        http_request("/embed_text", {"name": options.model, "text": texts[first : first + batch]})
        for first in range(0, len(texts) - batch + 1, batch)
    ]
    target = Target("127.0.0.1", server.inference_port)
    loop = uvloop.new_event_loop()
    try:
        result = loop.run_until_complete(closed_loop(target, requests, clients=clients, seconds=options.seconds))
    finally:
        loop.close()
        asyncio.set_event_loop(None)
    if result.failed:
        raise SystemExit(f"{result.failed} requests of the load generator failed: {result.statuses}")
    return batch * result.requests_per_s


def _all_at_once(server: Server, options: argparse.Namespace) -> dict[str, float]:
    url = f"http://127.0.0.1:{server.inference_port}"
    command = [sys.executable, "-c", _ALL_AT_ONCE, url, options.model, str(options.at_once)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows, seconds, more, result = map(float, done.stdout.split())
    return {"rows": rows, "itemsPerS": rows / seconds, "memoryMiB": more, "ofThatTheResultMiB": result}


if __name__ == "__main__":
    main()
