"""Runs graphs on ONNX Runtime in this process."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import onnxruntime

from ingrain.engine.memory import is_memory_failure
from ingrain.engine.protocol import Array, Arrays, GraphStatistics
from ingrain.engine.statistics import Recorder
from ingrain.errors import (
    DeadlineExceededError,
    EngineError,
    EngineMemoryError,
    EngineUnavailableError,
    InferenceError,
    ModelNotLoadedError,
)
from ingrain.machine_memory import resident_bytes
from ingrain.python_backend import cuda
from ingrain.python_backend.lone import LoneSession
from ingrain.python_backend.sessions import flush_denormals, open_cpu_sessions, run_options, session_options
from ingrain.repository.execution_policy import Backend, lone_threads_of
from ingrain.repository.manifest import Graph
from ingrain.repository.tuning import Layout
from ingrain.roles import ROLES

logger = logging.getLogger(__name__)

# A batch on all cores that is expected to finish within this time runs in the event loop's thread. A switch to another
# thread and back takes time, and other requests would wait for a free core anyway.
_HERE_S = 0.015
# A single client sends its next request about a millisecond after the response. The threads spin until then, because
# waking them costs up to a tenth of a short batch.
_SPIN_US = 1500
_RETRY_AFTER_S = 5.0
# A run that was told to end checks for that after each operator. One that does not end within this time hangs.
_HUNG_S = 10.0


@dataclass(slots=True)
class _Loaded:
    """A graph and its sessions: one session per slot, or one session for all slots if it has a single thread.

    ``lone`` is another session with more threads, for a batch that is alone in the engine. ``memory_bytes`` is what the
    process grew by when the graph was loaded, at least its weights: it may reuse memory that it had.
    """

    outputs: list[str]
    sessions: list[onnxruntime.InferenceSession]
    slots: asyncio.Semaphore
    recorder: Recorder
    memory_bytes: int
    free: list[onnxruntime.InferenceSession] = field(default_factory=list)
    lone: LoneSession | None = None


class OnnxRuntimeEngine:
    """Runs graphs inside the server's process; ONNX Runtime releases the GIL while it computes.

    Args:
        locate: Function from a graph's name to the path of its ``model.onnx``; or the folder that holds
            ``<name>/1/model.onnx``.
        instances: How many batches of one graph run at the same time.
        threads: Threads for one batch.
        lone_threads: Threads for a batch that is alone in the engine, if greater than ``threads``. 0: as many as any
            other batch gets.
        on_gpu: Run graphs on the machine's first GPU.
    """

    def __init__(
        self,
        locate: Callable[[str], Path] | Path,
        *,
        instances: int = 1,
        threads: int = 1,
        lone_threads: int = 0,
        on_gpu: bool = False,
    ) -> None:
        self.backend: Backend = "onnxruntime"
        self.instances = instances
        self._locate = (lambda name: locate / name / "1" / "model.onnx") if isinstance(locate, Path) else locate
        self._threads = threads
        self._lone_threads = lone_threads
        self._on_gpu = on_gpu
        self._graphs: dict[str, _Loaded] = {}
        self._loading: dict[str, asyncio.Lock] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._runs: dict[asyncio.Future[list[Array]], onnxruntime.RunOptions] = {}
        self._told_to_end: dict[asyncio.Future[list[Array]], float] = {}
        self._quiet = run_options(None)

    async def start(self) -> None:
        """Create the thread pool."""
        if self._pool is None:
            # The pool starts threads on demand; the slots of each graph limit their number.
            self._pool = ThreadPoolExecutor(64, "onnxruntime", initializer=flush_denormals)

    async def close(self) -> None:
        """Unload all graphs and terminate running batches."""
        pool, self._pool = self._pool, None
        self._graphs.clear()
        for options in self._runs.values():
            options.terminate = True
        if self._runs:
            await asyncio.wait(self._runs, timeout=_HUNG_S)
        if pool is not None:
            pool.shutdown(wait=False)

    async def live(self) -> bool:
        """Return whether the engine is started and not closed, and no run hangs; only a new process would end that."""
        is_hung = any(time.monotonic() > told + _HUNG_S for told in self._told_to_end.values())
        return self._pool is not None and not is_hung

    async def load(self, graph: Graph, layout: Layout | None = None) -> None:
        """Load a graph; see ``Engine.load``."""
        pool = self._running_pool()
        layout = layout or Layout(self.instances, self._threads)
        async with self._loading.setdefault(graph.name, asyncio.Lock()):
            if graph.name in self._graphs:
                return
            path, before = self._locate(graph.name), resident_bytes(os.getpid())
            try:
                sessions, lone = await asyncio.get_running_loop().run_in_executor(pool, self._open, path, graph, layout)
            except Exception as error:  # ONNX Runtime's exceptions have no common base.
                logger.warning("ONNX Runtime refused %s: %s", path, error)
                if is_memory_failure(f"{type(error).__name__}: {error}"):
                    raise EngineMemoryError(
                        f"The engine has too little memory to load graph {graph.name!r}", retry_after_s=_RETRY_AFTER_S
                    ) from error
                raise EngineError(f"ONNX Runtime refused to load graph {graph.name!r}; the log says why") from error
            self._graphs[graph.name] = _Loaded(
                outputs=[output.name for output in sessions[0].get_outputs()],
                sessions=sessions,
                slots=asyncio.Semaphore(layout.copies),
                recorder=Recorder(graph.name),
                memory_bytes=max((resident_bytes(os.getpid()) or 0) - (before or 0), path.stat().st_size),
                # If there is only one session, all slots share it.
                free=(sessions * layout.copies)[: layout.copies],
                lone=lone,
            )

    async def unload(self, name: str) -> None:
        """Unload a graph, if it is loaded. Running batches keep their session until they end."""
        self._running_pool()
        self._graphs.pop(name, None)

    async def ready(self, name: str) -> bool:
        """Return whether the graph is loaded."""
        return self._pool is not None and name in self._graphs

    async def infer(
        self,
        name: str,
        inputs: Arrays,
        *,
        timeout_s: float | None = None,
        alone: bool = False,
        outputs: Sequence[str] | None = None,
    ) -> dict[str, Array]:
        """Run one batch; see ``GraphRunner.infer``. ``timeout_s`` cannot stop a batch in the event loop's thread."""
        pool = self._running_pool()
        graph = self._graphs.get(name)
        if graph is None:
            raise ModelNotLoadedError(f"graph {name!r} is not loaded")
        if len({len(array) for array in inputs.values()}) != 1:
            raise InferenceError(f"graph {name!r} got no inputs, or inputs with different batch sizes")
        arrived = time.perf_counter_ns()
        try:
            lone = graph.lone
            if alone and lone is not None and not graph.slots.locked() and lone.is_surely_short(inputs, _HERE_S):
                return self._run_here(graph, lone, inputs, arrived, outputs)
            async with asyncio.timeout(timeout_s):
                await graph.slots.acquire()
                return await self._run(pool, graph, inputs, arrived, outputs, alone=alone)
        except TimeoutError as error:
            graph.recorder.failed(time.perf_counter_ns() - arrived)
            raise DeadlineExceededError(f"graph {name!r}: no answer within {timeout_s:g} s") from error
        except (InferenceError, EngineMemoryError):
            graph.recorder.failed(time.perf_counter_ns() - arrived)
            raise

    async def statistics(self) -> list[GraphStatistics]:
        """Return the statistics of each loaded graph."""
        return [graph.recorder.snapshot() for graph in self._graphs.values()]

    def memory_bytes(self, name: str) -> int | None:
        """Return what the process grew by when a graph was loaded, in bytes; None if it is not loaded."""
        loaded = self._graphs.get(name)
        return loaded.memory_bytes if loaded is not None else None

    def on_restart(self, callback: Callable[[], None]) -> None:
        """Do nothing: this engine only ends with the server's process."""

    def _running_pool(self) -> ThreadPoolExecutor:
        if self._pool is None:
            raise _closed()
        return self._pool

    def _open(
        self, path: Path, graph: Graph, layout: Layout
    ) -> tuple[list[onnxruntime.InferenceSession], LoneSession | None]:
        if self._on_gpu:
            count = 1 if layout.threads == 1 else layout.copies
            return [cuda.open_session(path, session_options(layout.threads)) for _ in range(count)], None
        role = ROLES[graph.role]
        return open_cpu_sessions(
            path,
            copies=layout.copies,
            threads=layout.threads,
            lone_threads=lone_threads_of(graph, self._lone_threads, layout.threads),
            lone_spin_us=_SPIN_US,
            disabled_optimizers=role.disabled_cpu_optimizers,
            has_fixed_shapes=not role.takes_token_sequences,
        )

    def _run_here(
        self, graph: _Loaded, lone: LoneSession, inputs: Arrays, begun: int, wanted: Sequence[str] | None
    ) -> dict[str, Array]:
        """Run a batch in the event loop's thread. It blocks the event loop, so that no timeout can stop it."""
        try:
            names, options = list(wanted or graph.outputs), self._quiet if wanted is None else run_options(wanted)
            outputs = lone.run(graph.free[-1], names, dict(inputs), options)
        except Exception as error:  # ONNX Runtime's exceptions have no common base.
            raise _failed(error) from error
        return _succeeded(graph, inputs, dict(zip(names, outputs, strict=True)), arrived=begun, begun=begun)

    async def _run(
        self,
        pool: ThreadPoolExecutor,
        graph: _Loaded,
        inputs: Arrays,
        arrived: int,
        wanted: Sequence[str] | None,
        *,
        alone: bool,
    ) -> dict[str, Array]:
        """Run a batch in the pool, in a slot that is taken; the slot is free again when the run has ended."""
        if self._pool is None:  # the engine was closed while this batch waited for its slot
            graph.slots.release()
            raise _closed()
        session = graph.free.pop()
        names, options = list(wanted or graph.outputs), run_options(wanted)
        begun = time.perf_counter_ns()
        work = partial(graph.lone.run, session) if alone and graph.lone is not None else session.run
        run = asyncio.get_running_loop().run_in_executor(pool, work, names, dict(inputs), options)
        self._runs[run] = options
        run.add_done_callback(partial(self._ended, graph, session))
        try:
            outputs = await asyncio.shield(run)
        except asyncio.CancelledError:
            options.terminate = True
            if not run.done():
                self._told_to_end[run] = time.monotonic()
            raise
        except Exception as error:  # ONNX Runtime's exceptions have no common base.
            self._running_pool()  # raises if close() terminated the run
            raise _failed(error) from error
        return _succeeded(graph, inputs, dict(zip(names, outputs, strict=True)), arrived=arrived, begun=begun)

    def _ended(self, graph: _Loaded, session: onnxruntime.InferenceSession, run: asyncio.Future[list[Array]]) -> None:
        del self._runs[run]
        self._told_to_end.pop(run, None)
        if not run.cancelled():
            run.exception()  # marks the exception as retrieved
        graph.free.append(session)
        graph.slots.release()


def _succeeded(
    graph: _Loaded, inputs: Arrays, outputs: dict[str, Array], *, arrived: int, begun: int
) -> dict[str, Array]:
    items = len(next(iter(inputs.values())))
    graph.recorder.succeeded(items, queue_ns=begun - arrived, compute_ns=time.perf_counter_ns() - begun)
    return outputs


def _closed() -> EngineUnavailableError:
    return EngineUnavailableError("the engine is closed", retry_after_s=_RETRY_AFTER_S)


def _failed(error: Exception) -> EngineError:
    logger.warning("ONNX Runtime failed on a batch: %s", error)
    if is_memory_failure(f"{type(error).__name__}: {error}"):
        return EngineMemoryError("ONNX Runtime has too little memory for the batch", retry_after_s=_RETRY_AFTER_S)
    return InferenceError("ONNX Runtime refused the batch or failed on it; the log says why")
