"""Runs graphs on ONNX Runtime in this process."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import onnxruntime

from ingrain.engine.protocol import Array, Arrays, GraphStatistics
from ingrain.engine.statistics import Recorder
from ingrain.errors import (
    DeadlineExceededError,
    EngineError,
    EngineUnavailableError,
    InferenceError,
    ModelNotLoadedError,
)
from ingrain.python_backend import cuda
from ingrain.python_backend.lone import LoneSession, use_all_cores
from ingrain.repository.execution_policy import Backend, lone_threads_of
from ingrain.repository.manifest import Graph
from ingrain.repository.tuning import Layout
from ingrain.roles import ROLES

logger = logging.getLogger(__name__)

_CPU = "CPUExecutionProvider"

# A batch on all cores that should take no longer than this runs in the event loop's own thread. Handing it to another
# thread and back takes time, and other requests would have to wait for a core in any case.
_HERE_S = 0.015
# A lone client sends its next request about a millisecond after the answer. The threads of all cores spin until then:
# waking them costs as much as a tenth of a short batch.
_SPIN_US = 1500


@dataclass(slots=True)
class _Loaded:
    """A graph and its sessions: one a slot, or one for all slots where a run needs no thread but the caller's.

    ``lone`` is a further session with more threads, for a batch that is alone in the engine.
    """

    outputs: list[str]
    sessions: list[onnxruntime.InferenceSession]
    slots: asyncio.Semaphore
    recorder: Recorder
    free: list[onnxruntime.InferenceSession] = field(default_factory=list)
    lone: LoneSession | None = None


class OnnxRuntimeEngine:
    """An engine inside the server's process; ONNX Runtime releases the interpreter's lock while it computes.

    Args:
        locate: Returns the path of a graph's ``model.onnx`` by its name; or the folder of ``<name>/1/model.onnx``.
        instances: How many batches of one graph run at the same time.
        threads: Threads of one batch.
        lone_threads: Threads of a batch that is alone in the engine, where more than ``threads``; 0 for none.
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
        self._running: list[onnxruntime.RunOptions] = []
        self._quiet = _quiet_run()

    async def start(self) -> None:
        """Make the pool of threads."""
        if self._pool is None:
            # Threads are made when needed; the slots of each graph are what limits them.
            self._pool = ThreadPoolExecutor(max_workers=64, thread_name_prefix="onnxruntime")

    async def close(self) -> None:
        """Unload all graphs and stop the batches that still run."""
        pool, self._pool = self._pool, None
        self._graphs.clear()
        for options in self._running:
            options.terminate = True
        if pool is not None:
            await asyncio.to_thread(pool.shutdown)

    async def live(self) -> bool:
        """Tell whether the engine was started and not closed."""
        return self._pool is not None

    async def load(self, graph: Graph, layout: Layout | None = None) -> None:
        """Load a graph; see ``Engine.load``."""
        pool = self._running_pool()
        layout = layout or Layout(self.instances, self._threads)
        async with self._loading.setdefault(graph.name, asyncio.Lock()):
            if graph.name in self._graphs:
                return
            path = self._locate(graph.name)
            try:
                sessions, lone = await asyncio.get_running_loop().run_in_executor(pool, self._open, path, graph, layout)
            except Exception as error:  # ONNX Runtime's exceptions have no common base.
                logger.warning("ONNX Runtime refused %s: %s", path, error)
                raise EngineError(f"ONNX Runtime refused to load graph {graph.name!r}; the log says why") from error
            self._graphs[graph.name] = _Loaded(
                outputs=[output.name for output in sessions[0].get_outputs()],
                sessions=sessions,
                slots=asyncio.Semaphore(layout.copies),
                recorder=Recorder(graph.name),
                # One and the same for all slots, where a run needs no thread but the caller's.
                free=(sessions * layout.copies)[: layout.copies],
                lone=lone,
            )

    async def unload(self, name: str) -> None:
        """Unload a graph; unloading an unknown one changes nothing. Running batches keep it until they end."""
        self._running_pool()
        self._graphs.pop(name, None)

    async def ready(self, name: str) -> bool:
        """Tell whether a graph can be inferred now."""
        return self._pool is not None and name in self._graphs

    async def infer(
        self, name: str, inputs: Arrays, *, timeout_s: float | None = None, alone: bool = False
    ) -> dict[str, Array]:
        """Run one batch; see ``GraphRunner.infer``. ``timeout_s`` cannot stop one in the event loop's own thread."""
        pool = self._running_pool()
        graph = self._graphs.get(name)
        if graph is None:
            raise ModelNotLoadedError(f"graph {name!r} is not loaded")
        if len({len(array) for array in inputs.values()}) != 1:
            raise InferenceError(f"graph {name!r} was sent inputs of different batch sizes, or none")
        arrived = time.perf_counter_ns()
        try:
            lone = graph.lone
            if alone and lone is not None and not graph.slots.locked() and lone.is_surely_short(inputs, _HERE_S):
                return self._run_here(graph, lone, inputs, arrived)
            async with asyncio.timeout(timeout_s), graph.slots:
                return await self._run(pool, graph, inputs, arrived, alone=alone)
        except TimeoutError as error:
            graph.recorder.failed(time.perf_counter_ns() - arrived)
            raise DeadlineExceededError(f"graph {name!r}: no answer within {timeout_s:g} s") from error
        except InferenceError:
            graph.recorder.failed(time.perf_counter_ns() - arrived)
            raise

    async def statistics(self) -> list[GraphStatistics]:
        """Return what was counted for each loaded graph."""
        return [graph.recorder.snapshot() for graph in self._graphs.values()]

    def on_restart(self, callback: Callable[[], None]) -> None:
        """Do nothing: this engine cannot die without the process."""

    def _running_pool(self) -> ThreadPoolExecutor:
        if self._pool is None:
            raise EngineUnavailableError("the engine is closed")
        return self._pool

    def _open(
        self, path: Path, graph: Graph, layout: Layout
    ) -> tuple[list[onnxruntime.InferenceSession], LoneSession | None]:
        # With one thread a run is the caller's own, and one set of weights serves any number of runs at once.
        count = 1 if layout.threads == 1 else layout.copies
        sessions = [self._open_one(path, graph, _options(layout.threads)) for _ in range(count)]
        lone_threads = 0 if self._on_gpu else lone_threads_of(graph, self._lone_threads, layout.threads)
        if not lone_threads:
            return sessions, None
        options = _options(layout.threads)
        use_all_cores(options, lone_threads, spin_us=_SPIN_US)
        return sessions, LoneSession(self._open_one(path, graph, options))

    def _open_one(self, path: Path, graph: Graph, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
        if self._on_gpu:
            return cuda.open_session(path, options)
        return onnxruntime.InferenceSession(
            str(path),
            sess_options=options,
            providers=[_CPU],
            disabled_optimizers=list(ROLES[graph.role].disabled_cpu_optimizers),
        )

    def _run_here(self, graph: _Loaded, lone: LoneSession, inputs: Arrays, begun: int) -> dict[str, Array]:
        """Run a batch in the event loop's thread; nothing can stop it, for nothing else happens meanwhile."""
        try:
            outputs = lone.run(graph.free[-1], graph.outputs, dict(inputs), self._quiet)
        except Exception as error:  # ONNX Runtime's exceptions have no common base.
            raise _failed(error) from error
        return _succeeded(graph, inputs, outputs, arrived=begun, begun=begun)

    async def _run(
        self, pool: ThreadPoolExecutor, graph: _Loaded, inputs: Arrays, arrived: int, *, alone: bool
    ) -> dict[str, Array]:
        self._running_pool()  # it may have been closed while this batch waited for its slot
        session = graph.free.pop()
        options = _quiet_run()
        begun = time.perf_counter_ns()
        work = partial(graph.lone.run, session) if alone and graph.lone is not None else session.run
        self._running.append(options)
        try:
            run = asyncio.get_running_loop().run_in_executor(pool, work, graph.outputs, dict(inputs), options)
            outputs = await asyncio.shield(run)
        except asyncio.CancelledError:
            options.terminate = True
            # The slot is free again when the run has ended, not when nobody waits for it any more.
            await asyncio.wait([run])
            run.exception()  # seen
            raise
        except Exception as error:  # ONNX Runtime's exceptions have no common base.
            self._running_pool()  # stopped by close
            raise _failed(error) from error
        finally:
            self._running.remove(options)
            graph.free.append(session)
        return _succeeded(graph, inputs, outputs, arrived=arrived, begun=begun)


def _succeeded(graph: _Loaded, inputs: Arrays, outputs: list[Array], *, arrived: int, begun: int) -> dict[str, Array]:
    items = len(next(iter(inputs.values())))
    graph.recorder.succeeded(items, queue_ns=begun - arrived, compute_ns=time.perf_counter_ns() - begun)
    return dict(zip(graph.outputs, outputs, strict=True))


def _failed(error: Exception) -> InferenceError:
    logger.warning("ONNX Runtime failed on a batch: %s", error)
    return InferenceError("ONNX Runtime refused the batch or failed on it; the log says why")


def _quiet_run() -> onnxruntime.RunOptions:
    options = onnxruntime.RunOptions()
    options.log_severity_level = 4
    return options


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors come as exceptions
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
