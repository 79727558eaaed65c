"""Measures the server's overhead for one short text: p50 of a single client minus the time of bare ONNX Runtime.

Both engines are measured, each in its own server: the embedded Triton, and ONNX Runtime in the server's process. The
baseline runs the same tokenized texts one at a time, in a session with one thread per core; its threads sleep or spin
while they wait, whichever is faster. The report also has the latency of a minimal server with the same responses
(``least_server.py``), as a lower bound for any Python server, and Triton's own latency (``bare_triton.py``).
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bare import BareGraph, TextSetting, median, tokenize
from bare_triton import BareTriton
from ingrain.bench.load import LoadResult, Target, closed_loop, http_request
from ingrain.bench.texts import make_texts
from ingrain.repository.names import model_key
from ingrain.repository.store import Repository
from measure import CORES, common_options, print_report, run_facts, run_loop, statuses
from server import Server, free_ports, running_server
from yardstick_model import NAME

_ENGINES = {"embedded": 2.0, "onnxruntime": 1.0}  # limit of the overhead in milliseconds
_TRITON_TEXTS = 4_000
_WARM_UP_S = 1.0
_PAUSE_S = 0.05


def main() -> None:
    parser = common_options(__doc__, model=NAME, clients=1, seconds=1.0, rounds=15)
    parser.add_argument("--engines", nargs="+", choices=list(_ENGINES), default=list(_ENGINES))
    options = parser.parse_args()
    repository = Repository(options.repository.resolve())
    texts = make_texts("query", 20_000)
    requests = [http_request("/embed_text", {"name": options.model, "text": text}) for text in texts]
    report: dict[str, Any] = {**run_facts(options.model), "clients": options.clients, "engines": {}}
    for engine in options.engines:
        with running_server(options.repository, options.models_dir, options.model, INGRAIN_ENGINE=engine) as server:
            entry = repository.find(model_key(options.model, "sentence_transformers"))
            assert entry is not None
            items = tokenize(entry, texts)
            graphs = {
                f"1 session × {CORES} threads{', spinning' if spinning else ''}": BareGraph(
                    entry, repository, TextSetting(1, CORES, 1), items, spinning=spinning
                )
                for spinning in (False, True)
            }
            triton = BareTriton(server.process.pid, entry, items[:_TRITON_TEXTS]) if engine == "embedded" else None
            with _least_servers(options) as least:
                one = _compare(server, graphs, triton, least, requests, options)
        report["engines"][engine] = {**one, "targetMs": _ENGINES[engine]}
        print(
            f"{engine}: {one['p50Ms']:.2f} ms, bare {one['bareP50Ms']:.2f} ms, adds {one['addedMs']:.2f} ms; "
            f"the least server adds {one['leastAddedMs']:.2f} ms"
            + (f", Triton by itself {one['tritonAddedMs']:.2f} ms" if triton else "")
        )
    print_report(report, options.output)


@contextlib.contextmanager
def _least_servers(options: argparse.Namespace) -> Iterator[list[Target]]:
    """Start two minimal servers: one whose threads sleep, and one whose threads spin while they wait."""
    ports = free_ports(2)
    script = Path(__file__).with_name("least_server.py")
    arguments = [f"--repository={options.repository}", f"--model={options.model}", f"--threads={CORES}"]
    processes = [
        subprocess.Popen([sys.executable, str(script), *arguments, f"--port={port}", *spinning])
        for port, spinning in zip(ports, ([], ["--spinning"]), strict=True)
    ]
    try:
        for port in ports:
            deadline = time.monotonic() + 60
            while not _listens(port):
                if time.monotonic() > deadline:
                    raise SystemExit("the minimal server did not start")
                time.sleep(0.1)
        yield [Target("127.0.0.1", port) for port in ports]
    finally:
        for process in processes:
            process.terminate()
            process.wait(30)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _compare(
    server: Server,
    graphs: dict[str, BareGraph],
    triton: BareTriton | None,
    least: Sequence[Target],
    requests: Sequence[bytes],
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Measure server and baselines in turn; compare the medians of one p50 per round."""
    clients, rounds, seconds = options.clients, options.rounds, options.seconds
    target = Target("127.0.0.1", server.inference_port)
    results: list[LoadResult] = []
    bare: dict[str, list[float]] = {name: [] for name in graphs}
    smallest: list[list[float]] = [[] for _ in least]
    by_itself: list[float] = []
    for one in (target, *least):
        run_loop(closed_loop(one, requests, clients=clients, seconds=_WARM_UP_S))
    for graph in graphs.values():
        graph.latencies_s(_WARM_UP_S)
    used = dict.fromkeys(server.cpu_s(), 0.0)
    for _ in range(rounds):
        before = server.cpu_s()
        results.append(run_loop(closed_loop(target, requests, clients=clients, seconds=seconds)))
        for part, after in server.cpu_s().items():
            used[part] += after - before[part]
        if triton is not None:
            by_itself.append(1e3 * median(triton.latencies_s(seconds)))
        for name, graph in graphs.items():
            bare[name].append(1e3 * median(graph.latencies_s(seconds)))
            time.sleep(_PAUSE_S)  # lets spinning threads go to sleep before the next measurement
        for one, found in zip(least, smallest, strict=True):
            found.append(run_loop(closed_loop(one, requests, clients=clients, seconds=seconds)).percentile_ms(0.5))
            time.sleep(_PAUSE_S)
    answers = sum(len(result.latencies_s) for result in results)
    best = min(bare, key=lambda name: median(bare[name]))
    served = [result.percentile_ms(0.5) for result in results]
    return {
        "p50Ms": round(median(served), 3),
        "p99Ms": round(median([result.percentile_ms(0.99) for result in results]), 3),
        "bareP50Ms": round(median(bare[best]), 3),
        "bareSetting": best,
        "addedMs": round(median(served) - median(bare[best]), 3),
        "leastP50Ms": round(min(map(median, smallest)), 3),
        "leastAddedMs": round(min(map(median, smallest)) - median(bare[best]), 3),
        **({"tritonAddedMs": round(median(by_itself) - median(bare[best]), 3)} if by_itself else {}),
        "addedMsLeastByRound": round(min(a - b for a, b in zip(served, bare[best], strict=True)), 3),
        "cpuMsPerRequest": {part: round(1e3 * seconds_ / answers, 3) for part, seconds_ in used.items()},
        "loadGeneratorCpuMsPerRequest": round(1e3 * sum(result.cpu_s for result in results) / answers, 3),
        "statuses": statuses(results),
    }


if __name__ == "__main__":
    main()
