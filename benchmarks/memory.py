"""Measures the memory growth of the serving processes from 20,000 to 200,000 requests of mixed lengths.

One text in twenty is a passage (log-normal, median 60 words), the others are queries of 4 to 9 words; all are distinct.
Counts anonymous memory, and shared memory divided by the number of processes that share it. Leaves out pages of program
files, whose share depends on other programs on the machine.

With ``--table`` it measures instead how much the processes hold after a short load: for each engine, for one batch per
core and for eight batches at the same time, with and without the session for lone batches. There ``resident`` also
counts pages of program files.
"""

from __future__ import annotations

import argparse
import itertools
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from ingrain.bench.load import LoadResult, Target, closed_loop, http_request
from ingrain.bench.texts import make_texts
from measure import CORES, common_options, print_report, run_facts, run_loop, statuses
from server import Server, running_server

_PASSAGES_IN = 20
_CHUNK = 5_000
_SLICE_S = 5.0


def main() -> None:
    options = _options()
    if options.table:
        print_report({**run_facts(options.model), "rows": _table(options)}, options.output)
    else:
        _measure_growth(options)


def _table(options: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for engine, runs, lone in itertools.product(("embedded", "onnxruntime"), (CORES, 8), (True, False)):
        environment = {
            "INGRAIN_ENGINE": engine,
            "MODEL_INSTANCES": str(runs),
            "INGRAIN_THREADS_PER_INSTANCE": "1",
            "INGRAIN_LONE_REQUEST_THREADS": "0" if lone else "1",
        }
        with running_server(options.repository, options.models_dir, options.model, **environment) as server:
            target = Target("127.0.0.1", server.inference_port)
            requests = next(_chunks(options.model))
            for clients in (options.clients, 1):  # a single client's batches run alone
                run_loop(closed_loop(target, requests, clients=clients, seconds=options.seconds))
            row = {
                "engine": engine,
                "concurrentRuns": runs,
                "loneSession": lone,
                "residentMb": {role: round(mb) for role, mb in server.by_role(_resident_mb).items()},
                "heldMb": {role: round(mb) for role, mb in server.by_role(_held_mb).items()},
            }
        rows.append(row)
        print(row, flush=True)
    return rows


def _measure_growth(options: argparse.Namespace) -> None:
    results: list[LoadResult] = []
    samples: list[tuple[int, dict[str, float]]] = []
    answered = 0
    with running_server(options.repository, options.models_dir, options.model, INGRAIN_ENGINE=options.engine) as server:
        target = Target("127.0.0.1", server.inference_port)
        started = time.monotonic()
        for requests in _chunks(options.model):
            result = run_loop(closed_loop(target, requests, clients=options.clients, seconds=options.seconds))
            results.append(result)
            answered += len(result.latencies_s)
            if answered >= _CHUNK * (len(samples) + 1):
                samples.append((answered, _memory_mb(server)))
                print(
                    f"{answered:7} requests, {time.monotonic() - started:5.0f} s: {_line(samples[-1][1])}", flush=True
                )
            if answered >= options.requests:
                break
    settled = next((one for one in samples if one[0] >= options.settled), samples[-1])
    after = [one for one in samples if one[0] > settled[0]] or [samples[-1]]
    report: dict[str, Any] = {
        **run_facts(options.model),
        "clients": options.clients,
        "requests": answered,
        "statuses": statuses(results),
        "memoryMb": {f"after {count}": memory for count, memory in (samples[0], settled, samples[-1])},
        "growthAfterSettling": {
            part: round(max(memory[part] for _, memory in after) / max(1.0, settled[1][part]) - 1, 4)
            for part in settled[1]
        },
    }
    print_report(report, options.output)


def _options() -> argparse.Namespace:
    parser = common_options(__doc__, model="all-MiniLM-L6-v2", clients=64, seconds=_SLICE_S)
    parser.add_argument("--table", action="store_true", help="measure what each engine's processes hold")
    parser.add_argument("--engine", default="auto", help="INGRAIN_ENGINE of the server")
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--settled", type=int, default=20_000, help="requests before the growth is measured")
    return parser.parse_args()


def _chunks(model: str) -> Iterator[list[bytes]]:
    """Yield lists of requests with texts that never repeat, one passage in twenty."""
    for number in itertools.count():
        texts = make_texts("query", _CHUNK, seed=number)
        passages = make_texts("lognormal", _CHUNK // _PASSAGES_IN, seed=number)
        texts[: len(passages)] = passages
        random.Random(number).shuffle(texts)
        yield [http_request("/embed_text", {"name": model, "text": text}) for text in texts]


def _memory_mb(server: Server) -> dict[str, float]:
    """Return the memory in MB of the front end, tritonserver and the processes that run graphs."""
    found = server.by_role(_held_mb)
    return {part: round(megabytes, 1) for part, megabytes in {"all": sum(found.values()), **found}.items()}


def _resident_mb(process: psutil.Process) -> float:
    return process.memory_info().rss / 1e6


def _held_mb(process: psutil.Process) -> float:
    lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:"))) / 1e3


def _line(memory: dict[str, float]) -> str:
    return ", ".join(f"{part} {megabytes:.1f} MB" for part, megabytes in memory.items())


if __name__ == "__main__":
    main()
