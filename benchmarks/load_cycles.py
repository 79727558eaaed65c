"""Memory of a tritonserver while a graph is loaded, run and unloaded again and again, by settings of the C library.

Run with ``PYTHONPATH=src:tests/support python benchmarks/load_cycles.py``. ``--sent`` sends the graph with the load
call, as to a Triton that does not see the model repository.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

import graphs
from ingrain.engine.embedded.tritonserver import TritonServer
from ingrain.engine.triton.engine import TritonEngine
from ingrain.repository.execution_policy import ExecutionPolicy
from ingrain.repository.graph_folder import write_graph_folder
from processes import free_port

SETTINGS = {
    "the C library's own": {"MALLOC_ARENA_MAX": "0"},
    "two heaps": {"MALLOC_ARENA_MAX": "2"},
    "one heap": {"MALLOC_ARENA_MAX": "1"},
    "two heaps, large blocks returned": {"MALLOC_ARENA_MAX": "2", "MALLOC_TRIM_THRESHOLD_": "131072"},
}


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def write_graph(root: Path, megabytes: int) -> None:
    """Write a small text graph that carries some weights which nothing uses."""
    path = root / "tiny" / "1" / "model.onnx"
    graphs.write_text_graph(path)
    model = onnx.load(str(path))
    weights = np.zeros((megabytes, 2**18), np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weights, "ballast"))
    onnx.save(model, str(path))


async def grow(settings: dict[str, str], options: argparse.Namespace) -> list[float]:
    """Return the resident MB of tritonserver after each cycle."""
    os.environ |= settings
    with tempfile.TemporaryDirectory() as folder:
        root, seen = Path(folder) / "triton", Path(folder) / "seen"
        write_graph(root, options.megabytes)
        graph = graphs.describe_graph("tiny", root / "tiny" / "1" / "model.onnx")
        write_graph_folder(root / "tiny", graph, "python", ExecutionPolicy(max_batch_size=64, instance_kind="KIND_CPU"))
        seen.mkdir()
        port = free_port()
        server = TritonServer(seen if options.sent else root, tcp_port=port)
        graphs_folder = root if options.sent else None
        engine = TritonEngine(f"127.0.0.1:{port}", backend="python", graphs=graphs_folder, watch_interval_s=0)
        memory = []
        try:
            await engine.start()
            ids = np.ones((8, 16), np.int64)
            for _ in range(options.cycles):
                await engine.load(graph)
                for _ in range(4):
                    await engine.infer("tiny", {"input_ids": ids, "attention_mask": ids})
                await engine.unload("tiny")
                memory.append(resident_mb(server.pid))
        finally:
            await engine.close()
            await server.stop(5)
    for name in settings:
        del os.environ[name]
    return memory


def main() -> None:
    """Print the growth for each setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=20)
    parser.add_argument("--megabytes", type=int, default=64, help="size of the graph")
    parser.add_argument("--sent", action="store_true")
    options = parser.parse_args()
    for name, settings in SETTINGS.items():
        memory = asyncio.run(grow(settings, options))
        third = memory[2]
        print(
            f"{name}: {memory[0]:.0f} MB after the first cycle, {third:.0f} after the third, {memory[-1]:.0f} at last"
        )


if __name__ == "__main__":
    main()
