"""A fake engine for tests: computes vectors from token ids without a model, and fails on demand."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ingrain.engine.protocol import Array, Arrays, GraphStatistics
from ingrain.engine.statistics import Recorder
from ingrain.errors import (
    DeadlineExceededError,
    EngineError,
    EngineUnavailableError,
    InferenceError,
    ModelNotLoadedError,
)
from ingrain.repository.execution_policy import Backend
from ingrain.repository.manifest import Graph, Tensor
from ingrain.repository.tuning import Layout
from ingrain.roles import ROLES

_DTYPES = {"FP32": np.float32, "FP16": np.float16, "INT64": np.int64, "INT32": np.int32, "UINT8": np.uint8}
BatchSeconds = Callable[[Layout, tuple[int, ...]], float]
_WEYL = np.uint64(0x9E3779B97F4A7C15)


def fake_vector(input_ids: Sequence[int], size: int) -> NDArray[np.float32]:
    """Return the vector that ``FakeEngine`` computes for a text's token ids, float32 ``[size]`` in [-1, 1)."""
    ids = np.asarray([input_ids], np.int64)
    vector: NDArray[np.float32] = _text_vectors(ids, np.ones_like(ids), size)[0]
    return vector


class FakeEngine:
    """An engine for tests. Follows the engine protocol, but computes meaningless vectors.

    A text's vector depends only on its token ids and their order, an image's vector only on its pixels. An entry of a
    sparse vector has the index of a token, and one plus the rest of its division by 7 as value.

    Args:
        instances: Number of batches of a graph that run concurrently.
        latency_s: Duration of a batch.

    Attributes:
        batches: Graph name and shape of the first input of each batch, in order.
        loads: Names of the loaded graphs, in order of loading.
        layouts: Layout of the last load of each graph, by name.
        batch_s: Returns the cost of a batch in seconds, by the graph's layout and the shape of the first input. The
            cost only advances ``computed_s``; no time passes.
        computed_s: A fake clock. Each batch advances it by its cost divided by the number of copies of the graph.
        most_in_flight: Largest number of batches that ran concurrently.
        alone: Number of batches with ``alone=True``.
        poison_id: A batch with this token id fails with ``InferenceError``.
        nan_id: The vector of a text with this token id is NaN.
        refused: Names of graphs whose load fails with ``EngineError``.
        weights: Memory of loaded graphs in bytes, by name; 1000 for any other.
    """

    def __init__(self, *, instances: int = 1, latency_s: float = 0.0) -> None:
        self.backend: Backend = "onnxruntime"
        self.instances = instances
        self.latency_s = latency_s
        self.batches: list[tuple[str, tuple[int, ...]]] = []
        self.loads: list[str] = []
        self.layouts: dict[str, Layout] = {}
        self.batch_s: BatchSeconds | None = None
        self.computed_s = 0.0
        self.most_in_flight = 0
        self.alone = 0
        self.poison_id: int | None = None
        self.nan_id: int | None = None
        self.refused: set[str] = set()
        self.weights: dict[str, int] = {}
        self._graphs: dict[str, Graph] = {}
        self._recorders: dict[str, Recorder] = {}
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._in_flight = 0
        self._callbacks: list[Callable[[], None]] = []
        self._death: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Start."""
        self._death = asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        """Stop; later calls raise ``EngineUnavailableError``."""
        self.die()

    def die(self) -> None:
        """Simulate a crash: forget all graphs, and fail batches in progress and later calls."""
        if self._death is not None and not self._death.done():
            self._death.set_result(None)
        self._graphs.clear()
        self._recorders.clear()

    def come_back(self) -> None:
        """Simulate a restart: work again, without any graphs, and call the ``on_restart`` callbacks."""
        self._death = asyncio.get_running_loop().create_future()
        for callback in self._callbacks:
            callback()

    async def live(self) -> bool:
        """Return whether the engine was started and has not died."""
        return self._death is not None and not self._death.done()

    async def load(self, graph: Graph, layout: Layout | None = None) -> None:
        """Load a graph; loading a loaded graph changes nothing.

        Args:
            graph: The graph.
            layout: Number of copies and of threads per copy; by default ``instances`` copies of one thread.

        Raises:
            EngineUnavailableError: The engine is dead.
            EngineError: The graph is in ``refused``.
        """
        await self._spend(0)
        if graph.name in self.refused:
            raise EngineError(f"the fake refuses graph {graph.name!r}")
        if graph.name not in self._graphs:
            self.loads.append(graph.name)
            self.layouts[graph.name] = layout or Layout(self.instances, 1)
            self._slots[graph.name] = asyncio.Semaphore(self.layouts[graph.name].copies)
            self._graphs[graph.name] = graph
            self._recorders[graph.name] = Recorder(graph.name)

    async def unload(self, name: str) -> None:
        """Unload a graph; unloading an unknown one changes nothing."""
        await self._spend(0)
        self._graphs.pop(name, None)
        self._recorders.pop(name, None)

    async def ready(self, name: str) -> bool:
        """Return whether a graph is loaded."""
        return name in self._graphs

    def memory_bytes(self, name: str) -> int | None:
        """Return the memory of a loaded graph, in bytes; None if it is not loaded."""
        return self.weights.get(name, 1000) if name in self._graphs else None

    async def infer(
        self,
        name: str,
        inputs: Arrays,
        *,
        timeout_s: float | None = None,
        alone: bool = False,
        outputs: Sequence[str] | None = None,
    ) -> dict[str, Array]:
        """Run one batch; see ``Engine.infer``."""
        await self._spend(0)
        self.alone += alone
        if name not in self._graphs:
            raise ModelNotLoadedError(f"graph {name!r} is not loaded")
        graph, recorder = self._graphs[name], self._recorders[name]
        arrived = time.perf_counter_ns()
        try:
            async with asyncio.timeout(timeout_s), self._slots[name]:
                begun = time.perf_counter_ns()
                computed = await self._run(graph, inputs)
        except TimeoutError as error:
            recorder.failed(time.perf_counter_ns() - arrived)
            raise DeadlineExceededError(f"graph {name!r}: no answer within {timeout_s:g} s") from error
        except InferenceError:
            recorder.failed(time.perf_counter_ns() - arrived)
            raise
        items = len(next(iter(inputs.values())))
        recorder.succeeded(items, queue_ns=begun - arrived, compute_ns=time.perf_counter_ns() - begun)
        return computed if outputs is None else {name: computed[name] for name in outputs}

    async def statistics(self) -> list[GraphStatistics]:
        """Return the statistics of each loaded graph."""
        return [recorder.snapshot() for recorder in self._recorders.values()]

    def on_restart(self, callback: Callable[[], None]) -> None:
        """Register a callback that ``come_back`` calls."""
        self._callbacks.append(callback)

    async def _run(self, graph: Graph, inputs: Arrays) -> dict[str, Array]:
        _check(graph, inputs)
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            await self._spend(self.latency_s)
        finally:
            self._in_flight -= 1
        ids = inputs.get("input_ids")
        if ids is not None and self.poison_id is not None and bool((ids == self.poison_id).any()):
            raise InferenceError(f"graph {graph.name!r} failed on the batch")
        outputs: dict[str, Array] = {}
        for role in graph.roles:
            tensors = graph.outputs_of(role)
            if ROLES[role].gives_entries:
                outputs |= _entries(tensors, inputs)
            elif ROLES[role].gives_token_vectors:
                outputs |= _token_vectors(tensors, inputs)
            else:
                outputs |= self._all_vectors(tensors, inputs)
        shape = inputs[graph.inputs[0].name].shape
        if self.batch_s is not None:
            layout = self.layouts[graph.name]
            self.computed_s += self.batch_s(layout, shape) / layout.copies
        self.batches.append((graph.name, shape))
        return outputs

    def _all_vectors(self, tensors: Sequence[Tensor], inputs: Arrays) -> dict[str, Array]:
        ids = inputs.get("input_ids")
        outputs: dict[str, Array] = {}
        for output in tensors:
            vectors = _vectors(inputs, output.shape[-1])
            if ids is not None and self.nan_id is not None:
                vectors[(ids == self.nan_id).any(axis=1)] = np.nan
            outputs[output.name] = vectors.astype(_DTYPES[output.dtype])
        return outputs

    async def _spend(self, seconds: float) -> None:
        """Sleep; raise ``EngineUnavailableError`` if the engine is dead or dies during that time."""
        death = self._death
        if death is not None and not death.done() and seconds > 0:
            await asyncio.wait([death], timeout=seconds)
        if death is None or death.done():
            raise EngineUnavailableError("the engine does not answer, or is being restarted", retry_after_s=1.0)


def _entries(tensors: Sequence[Tensor], inputs: Arrays) -> dict[str, Array]:
    ids, (values, indices) = inputs["input_ids"], tensors
    weights = inputs["attention_mask"].astype(np.float32) * (1 + ids.astype(np.int64) % 7)
    return {values.name: weights.astype(np.float32), indices.name: ids.astype(np.int32)}


def _token_vectors(tensors: Sequence[Tensor], inputs: Arrays) -> dict[str, Array]:
    """Return a vector for each token, which follows from its id and its place."""
    ids, (output,) = inputs["input_ids"].astype(np.uint64), tensors
    seeds = _mix(ids * np.uint64(1 << 20) + np.arange(ids.shape[1], dtype=np.uint64))
    return {output.name: _spread(seeds.ravel(), output.shape[-1]).reshape(*ids.shape, -1)}


def _check(graph: Graph, inputs: Arrays) -> None:
    """Raise ``InferenceError`` for inputs that Triton refuses."""
    if set(inputs) != {tensor.name for tensor in graph.inputs}:
        raise InferenceError(f"graph {graph.name!r} takes other inputs than {sorted(inputs)}")
    for tensor in graph.inputs:
        array = inputs[tensor.name]
        fits = len(array.shape) == len(tensor.shape) and all(
            wanted in (-1, size) for wanted, size in zip(tensor.shape, array.shape, strict=True)
        )
        if array.dtype != _DTYPES[tensor.dtype] or not fits:
            raise InferenceError(f"input {tensor.name!r} of graph {graph.name!r} has a wrong dtype or shape")
    if len({inputs[tensor.name].shape[0] for tensor in graph.inputs}) != 1:
        raise InferenceError(f"inputs of graph {graph.name!r} differ in batch size")
    mask = inputs.get("attention_mask")
    if mask is not None and mask.shape != inputs["input_ids"].shape:
        raise InferenceError(f"ids and mask of graph {graph.name!r} differ in shape")


def _vectors(inputs: Arrays, size: int) -> NDArray[np.float32]:
    if "input_ids" in inputs:
        ids = inputs["input_ids"].astype(np.int64)
        return _text_vectors(ids, inputs.get("attention_mask", np.ones_like(ids)).astype(np.int64), size)
    rows = next(iter(inputs.values()))
    seeds = np.array([zlib.crc32(np.ascontiguousarray(row).tobytes()) for row in rows], np.uint64)
    return _spread(seeds, size)


def _text_vectors(ids: NDArray[np.int64], mask: NDArray[np.int64], size: int) -> NDArray[np.float32]:
    """Return float32 ``[B, size]``. Sums integers, so that padding cannot change even the last bit."""
    position = np.cumsum(mask, axis=1).astype(np.uint64)
    tokens = _mix(ids.astype(np.uint64) * np.uint64(1 << 20) + position) * (mask != 0)
    seeds: NDArray[np.uint64] = tokens.sum(axis=1, dtype=np.uint64)
    return _spread(seeds, size)


def _spread(seeds: NDArray[np.uint64], size: int) -> NDArray[np.float32]:
    bits = _mix(seeds[:, None] + np.arange(1, size + 1, dtype=np.uint64)[None, :] * _WEYL)
    return ((bits >> np.uint64(40)).astype(np.float32) / np.float32(1 << 23)) - np.float32(1)


def _mix(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hash 64-bit numbers: twice fold the upper half into the lower half and multiply by an odd number."""
    for _ in range(2):
        bits = (bits ^ (bits >> np.uint64(32))) * _WEYL
    return bits ^ (bits >> np.uint64(29))
