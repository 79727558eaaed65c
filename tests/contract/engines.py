"""The engines under the contract, each with its graphs, its truth, and a way to die and come back."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import graphs
from ingrain.engine.embedded.engine import EmbeddedEngine
from ingrain.engine.embedded.tritonserver import TritonServer
from ingrain.engine.onnxruntime import OnnxRuntimeEngine
from ingrain.engine.protocol import Engine
from ingrain.engine.triton.engine import TritonEngine
from ingrain.engine.tritons.addresses import Addresses, read_targets
from ingrain.engine.tritons.engine import TritonsEngine
from ingrain.export.precision.quantize import Int8Plan, write_int8
from ingrain.repository.execution_policy import ExecutionPolicy
from ingrain.repository.graph_folder import write_graph_folder
from ingrain.repository.manifest import Graph
from ingrain.testing.fake_engine import FakeEngine, fake_vector

SEEDS = {"tiny": 0, "other": 1, "counted": 2}
SLOW_ITERATIONS = 1500
LONE_THREADS = 2


class Harness:
    """An engine with a repository of small graphs: ``tiny``, ``other``, ``counted``, and ``slow`` (about a second).

    ``products`` has matrix products, and ``int8`` is the same in int8.
    """

    engine: Engine

    def __init__(self, root: Path) -> None:
        self.root = root

    async def start(self) -> None:
        await self.engine.start()
        self.graphs = {name: self._write(name, graphs_seed) for name, graphs_seed in SEEDS.items()}
        self.graphs["slow"] = self._write("slow", 0, SLOW_ITERATIONS)
        graphs.write_text_graph(self._path("products"), products=True)
        self._path("int8").parent.mkdir(parents=True)
        write_int8(self._path("products"), self._path("int8"), Int8Plan(offset=False))
        self.graphs |= {name: self._describe(name) for name in ("products", "int8")}

    async def close(self) -> None:
        await self.engine.close()

    async def crash(self) -> None:
        """Kill the engine as the kernel would."""
        raise NotImplementedError

    async def recover(self) -> None:
        """Bring it back, where it does not come back by itself."""

    @contextlib.contextmanager
    def slowly(self) -> Iterator[str]:
        """Give the name of a graph that takes about a second."""
        yield "slow"

    def expected(self, name: str, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return graphs.expected_embedding(ids, mask, SEEDS.get(name, 0))

    def _write(self, name: str, seed: int, iterations: int = 0) -> Graph:
        graphs.write_text_graph(self._path(name), seed=seed, iterations=iterations)
        return self._describe(name)

    def _path(self, name: str) -> Path:
        return self.root / name / "1" / "model.onnx"

    def _describe(self, name: str) -> Graph:
        graph = graphs.describe_graph(name, self._path(name))
        instances = 2 if name == "tiny" else 1
        policy = ExecutionPolicy(
            max_batch_size=16, instance_kind="KIND_CPU", instances=instances, lone_threads=LONE_THREADS
        )
        write_graph_folder(self.root / name, graph, self.engine.backend, policy)
        return graph


class Embedded(Harness):
    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.engine = EmbeddedEngine(root, instances=2)

    async def crash(self) -> None:
        os.kill(self.engine.pid, signal.SIGKILL)


class Triton(Harness):
    """A tritonserver that is not ours, at a URL."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        self.engine = TritonEngine(f"grpc://127.0.0.1:{self.port}", backend="python", instances=2, watch_interval_s=0.3)

    async def start(self) -> None:
        self.server = TritonServer(self.root, tcp_port=self.port)
        await super().start()

    async def close(self) -> None:
        await super().close()
        await self.server.stop(10)

    async def crash(self) -> None:
        os.kill(self.server.pid, signal.SIGKILL)
        await self.server.exited

    async def recover(self) -> None:
        self.server = TritonServer(self.root, tcp_port=self.port)


class Tritons(Triton):
    """The same behind a name, which could stand for several."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.engine = TritonsEngine(
            Addresses(read_targets(f"localhost:{self.port}")),
            lambda address: TritonEngine(address, backend="python", instances=2, watch_interval_s=0.3),
            backend="python",
            instances=2,
        )


class InProcess(Harness):
    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.engine = OnnxRuntimeEngine(root, instances=2, lone_threads=LONE_THREADS)


class Fake(Harness):
    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.engine = FakeEngine(instances=2)

    async def crash(self) -> None:
        self.engine.die()

    async def recover(self) -> None:
        await asyncio.sleep(0.2)
        self.engine.come_back()

    @contextlib.contextmanager
    def slowly(self) -> Iterator[str]:
        self.engine.latency_s = 1.0
        yield "slow"
        self.engine.latency_s = 0.0

    def expected(self, name: str, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        rows = [fake_vector(row[keep != 0], graphs.WIDTH) for row, keep in zip(ids, mask, strict=True)]
        return np.stack(rows)


ALL: dict[str, type[Harness]] = {
    "embedded": Embedded,
    "triton": Triton,
    "tritons": Tritons,
    "onnxruntime": InProcess,
    "fake": Fake,
}
# Of several Tritons the parts are tried, and the whole in tests/engine/test_tritons.py.
ALONE = {name: ALL[name] for name in ALL if name != "tritons"}
MORTAL = {name: ALL[name] for name in ("embedded", "triton", "fake")}


def batch(items: int, tokens: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Return a batch of random ids, rows of random lengths padded on the right with id 0."""
    rng = np.random.default_rng((items, tokens, seed))
    lengths = rng.integers(1, tokens + 1, items)
    lengths[0] = tokens
    mask = (np.arange(tokens)[None, :] < lengths[:, None]).astype(np.int64)
    return {"input_ids": rng.integers(1, graphs.VOCABULARY, (items, tokens)) * mask, "attention_mask": mask}
