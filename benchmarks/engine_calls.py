"""Compares what a batch's call to Triton costs in another version of Ingrain and in this one, in turn.

``--other`` is the ``src`` folder of another checkout. Both versions call one tritonserver, whose graph computes next to
nothing, from a process each. The ratios compare medians.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import uvloop

import graphs
from ingrain.engine.embedded.engine import EmbeddedEngine
from ingrain.engine.triton.engine import TritonEngine
from ingrain.repository.execution_policy import ExecutionPolicy
from ingrain.repository.graph_folder import write_graph_folder

_THIS = Path(__file__).parents[1] / "src"
_ITEMS, _TOKENS = 16, 16
_TIMEOUT_S = 60.0


async def calls(target: str) -> None:
    """For each line ``CLIENTS CALLS`` of standard input, run that many calls and print what one cost."""
    engine = TritonEngine(target, watch_interval_s=0)
    engine.connect()
    inputs = {name: np.ones((_ITEMS, _TOKENS), np.int64) for name in ("input_ids", "attention_mask")}
    latencies: list[float] = []

    async def client(count: int) -> None:
        for _ in range(count):
            began = time.perf_counter()
            await engine.infer("tiny", inputs, timeout_s=_TIMEOUT_S)
            latencies.append(time.perf_counter() - began)

    for line in sys.stdin:
        clients, count = map(int, line.split())
        await client(10)  # connects
        latencies.clear()
        began, cpu = time.perf_counter(), _cpu_s()
        await asyncio.gather(*(client(count // clients) for _ in range(clients)))
        found = {
            "callsPerS": len(latencies) / (time.perf_counter() - began),
            "cpuMs": 1e3 * (_cpu_s() - cpu) / len(latencies),
            "p50Ms": 1e3 * float(np.median(latencies)),
        }
        print(json.dumps(found), flush=True)
    await engine.close()


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def compare(sources: dict[str, Path], rounds: int, count: int) -> dict[str, dict[str, dict[str, float]]]:
    """Return the medians of all rounds by number of clients, version and measure."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        path = Path(folder) / "tiny" / "1" / "model.onnx"
        graphs.write_text_graph(path)
        engine = EmbeddedEngine(Path(folder), instances=2)
        await engine.start()
        try:
            graph = graphs.describe_graph("tiny", path)
            policy = ExecutionPolicy(max_batch_size=_ITEMS, instance_kind="KIND_CPU", instances=2)
            write_graph_folder(Path(folder) / "tiny", graph, engine.backend, policy)
            await engine.load(graph)
            (address,) = engine.addresses
            callers = {name: stack.enter_context(_caller(source, address.target)) for name, source in sources.items()}
            found: dict[str, dict[str, list[dict[str, float]]]] = {}
            for number in range(rounds):
                for clients in (1, 3, 8):
                    for name in list(callers) if number % 2 else list(callers)[::-1]:
                        one = await asyncio.to_thread(_measure, callers[name], clients, count)
                        found.setdefault(str(clients), {}).setdefault(name, []).append(one)
        finally:
            await engine.close()
    return {
        clients: {
            name: {key: round(float(np.median([one[key] for one in runs])), 3) for key in runs[0]}
            for name, runs in by_name.items()
        }
        for clients, by_name in found.items()
    }


@contextlib.contextmanager
def _caller(source: Path, target: str):
    command = [sys.executable, __file__, "--target", target]
    path = os.pathsep.join([str(source.resolve()), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": path}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        yield process
        process.stdin.close()


def _measure(caller: subprocess.Popen, clients: int, count: int) -> dict[str, float]:
    caller.stdin.write(f"{clients} {count}\n")
    caller.stdin.flush()
    return json.loads(caller.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", type=Path, help="`src` of the other checkout")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=600, help="calls of each run")
    parser.add_argument("--target", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.target:
        uvloop.run(calls(options.target))
        return
    sources = {"this": _THIS} | ({"other": options.other} if options.other else {})
    print(json.dumps(uvloop.run(compare(sources, options.rounds, options.calls)), indent=2))


if __name__ == "__main__":
    main()
