"""Runs the real server on one core, with an engine that responds at once; `front_end.py` starts it.

A script of its own, so that it can run another version of Ingrain, which PYTHONPATH names.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path

import numpy as np

from ingrain.app import parts, run
from ingrain.settings import Settings

_WIDEST = 4096


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

    async def infer(self, name, inputs, *, timeout_s=None, alone=False, outputs=None) -> dict:
        del timeout_s, alone, outputs
        output, width = self._outputs[name]
        await asyncio.sleep(0)
        return {output: self._rows[: len(next(iter(inputs.values()))), :width]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--models-dir", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--ports", type=int, nargs=2, required=True, help="of the inference and the model plane")
    parser.add_argument("--max-batch-size", type=int, default=0, help="largest batch; 0 for the server's default")
    parser.add_argument("--cache-bytes", type=int, default=0, help="INGRAIN_CACHE_BYTES of the server")
    parser.add_argument("--grpc-port", type=int, default=0, help="0 for no gRPC")
    options = parser.parse_args()
    # Earlier versions, which this script may run too, have no cache and no gRPC.
    later = {"cache_bytes": options.cache_bytes, "grpc_port": options.grpc_port}
    later = {name: value for name, value in later.items() if name in Settings.__struct_fields__}
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    parts.make_engine = lambda *_: NullEngine()
    run.run(
        Settings(
            repository=options.repository,
            local_models_dir=options.models_dir,
            models=[options.model],
            inference_port=options.ports[0],
            model_port=options.ports[1],
            max_batch_size=options.max_batch_size,
            log_level="warning",
            **later,
        )
    )


if __name__ == "__main__":
    main()
