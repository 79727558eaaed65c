"""Runs graphs on a Triton server over gRPC."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
from tritonclient.grpc import service_pb2

from ingrain.engine.protocol import Array, Arrays, GraphStatistics, LoadedAs
from ingrain.engine.statistics import since
from ingrain.engine.triton.address import EngineAddress
from ingrain.engine.triton.connection import CallError, TritonConnection
from ingrain.engine.triton.failures import RETRY_AFTER_S, closed, translate
from ingrain.engine.triton.inference import run_batch
from ingrain.engine.triton.repository_view import RepositoryView
from ingrain.engine.triton.stub_statistics import decode_stub_statistics, statistics_request
from ingrain.engine.triton.wire import decode_infer, decode_statistics
from ingrain.errors import (
    DeadlineExceededError,
    EngineError,
    EngineMemoryError,
    EngineSetupError,
    EngineUnavailableError,
    InferenceError,
    IngrainError,
    ModelNotLoadedError,
)
from ingrain.repository.execution_policy import Backend
from ingrain.repository.manifest import Graph
from ingrain.repository.triton_config import layout_of
from ingrain.repository.tuning import Layout

logger = logging.getLogger(__name__)

_CONTROL_TIMEOUT_S = 5.0
_LIVE_TIMEOUT_S = 2.0
_POLL_S = 0.05
_GONE = {"UNAVAILABLE", ""}


class TritonEngine:
    """Runs graphs on a Triton server that it does not start.

    It checks once a second whether Triton responds and still has the graphs that this engine loaded, and runs the
    ``on_restart`` callbacks when Triton is back or has lost a graph.

    Args:
        url: ``host:port``, with or without ``grpc://``.
        backend: Triton backend in the graphs' ``config.pbtxt``.
        instances: How many batches of one graph Triton runs at the same time.
        graphs: Folder of the graphs, ``<repository>/triton``, which Triton may see or not; None if it is Triton's root.
        start_timeout_s: Seconds that ``start`` waits for Triton.
        load_timeout_s: Seconds that a graph may take to load; TensorRT takes minutes the first time.
        watch_interval_s: Seconds between two checks of Triton; 0 for no checks.
        has_faulty_stubs: Returns whether a Python stub of Triton has died or hangs, so a failed batch may be retried.
        as_written: As in ``RepositoryView``.

    Attributes:
        responds: Whether Triton did when it was last checked; False before ``start``.
    """

    def __init__(
        self,
        url: str,
        *,
        backend: Backend = "onnxruntime",
        instances: int = 1,
        graphs: Path | None = None,
        start_timeout_s: float = 30.0,
        load_timeout_s: float = 600.0,
        watch_interval_s: float = 1.0,
        has_faulty_stubs: Callable[[], bool] = lambda: False,
        as_written: bool = False,
    ) -> None:
        self.backend: Backend = backend
        self.instances = instances
        self.responds = False
        self._target = url.removeprefix("grpc://").rstrip("/")
        self._start_timeout_s = start_timeout_s
        self._load_timeout_s = load_timeout_s
        self._watch_interval_s = watch_interval_s
        self._has_faulty_stubs = has_faulty_stubs
        self._connection: TritonConnection | None = None
        self._view = (
            RepositoryView(graphs, self._call, self._index, as_written=as_written) if graphs is not None else None
        )
        self._loaded: set[str] = set()
        # Triton's statistics right after each load: warm-up batches, which are subtracted from what users see.
        self._warmups: dict[str, GraphStatistics] = {}
        # Requests for the statistics of graphs whose stub keeps its own.
        self._questions: dict[str, bytes] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._callbacks: list[Callable[[], None]] = []
        self._watcher: asyncio.Task[None] | None = None

    @property
    def addresses(self) -> tuple[EngineAddress, ...]:
        """Address of Triton for other processes."""
        return (EngineAddress(target=self._target, backend=self.backend),)

    @property
    def sends_graphs(self) -> bool:
        """Whether graphs are sent to Triton, which does not see the model repository."""
        return self._view is not None and self._view.is_elsewhere

    async def start(self) -> None:
        """Connect to Triton and wait until it responds.

        Raises:
            EngineUnavailableError: Triton did not respond in time.
            EngineSetupError: Triton was started without explicit model control.
        """
        self.connect()
        deadline = time.monotonic() + self._start_timeout_s
        while not await self.live():
            if time.monotonic() > deadline:
                await self.close()
                raise EngineUnavailableError(
                    f"Triton at {self._target!r} did not answer within {self._start_timeout_s:g} s; is TRITON_GRPC_URL "
                    "its gRPC port (8001)?",
                    retry_after_s=RETRY_AFTER_S,
                )
            await asyncio.sleep(_POLL_S)
        if self._view is not None:
            try:
                await self._view.look()
            except EngineError as error:
                await self.close()
                if isinstance(error, EngineUnavailableError):
                    raise
                raise EngineUnavailableError(error.message, retry_after_s=RETRY_AFTER_S) from error
        self.responds = True
        if self._watch_interval_s > 0:
            self._watcher = asyncio.create_task(self._watch(), name="watch triton")

    def connect(self) -> None:
        """Prepare the connection, without waiting for Triton."""
        if self._connection is None:
            self._connection = TritonConnection(self._target)

    async def close(self) -> None:
        """Close the connection. Triton keeps running, with its graphs loaded."""
        connection, self._connection = self._connection, None
        self.responds = False
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
            self._watcher = None
        if connection is not None:
            await connection.close()

    async def live(self) -> bool:
        """Return whether Triton responds."""
        try:
            answer = await self._call("ServerLive", service_pb2.ServerLiveRequest(), _LIVE_TIMEOUT_S)
        except EngineError:
            return False
        return bool(answer.live)

    async def server_name(self) -> str | None:
        """Return the id that the server was started with (``--id``), None if it does not respond."""
        try:
            answer = await self._call("ServerMetadata", service_pb2.ServerMetadataRequest(), _LIVE_TIMEOUT_S)
        except EngineError:
            return None
        return str(answer.name)

    async def load(self, graph: Graph, layout: Layout | None = None) -> None:
        """Load a graph; see ``Engine.load``. Triton reads the layout from ``config.pbtxt``.

        A graph that Triton does not see in its own repository is sent.

        Raises:
            EngineError: Triton refuses the graph, or it is too large to be sent.
            DeadlineExceededError: Triton took longer than ``load_timeout_s``.
        """
        del layout
        async with self._locks.setdefault(graph.name, asyncio.Lock()):
            if not await self._has(graph):
                request = await self._load_request(graph)
                try:
                    await self._call("RepositoryModelLoad", request, self._load_timeout_s)
                except (InferenceError, ModelNotLoadedError) as error:
                    raise EngineError(
                        f"Triton refused to load graph {graph.name!r}; its log says why", facts=error.facts
                    ) from error
                except EngineMemoryError as error:
                    raise EngineMemoryError(
                        f"The engine has too little memory to load graph {graph.name!r}", retry_after_s=RETRY_AFTER_S
                    ) from error
                await self._learn_to_ask(graph.name)
                self._warmups |= {found.name: found for found in await self._statistics(graph.name)}
            elif graph.name not in self._questions:
                await self._learn_to_ask(graph.name)
            self._loaded.add(graph.name)

    async def unload(self, name: str) -> None:
        """Unload a graph and wait until Triton has freed it; do nothing if it is not loaded.

        Raises:
            EngineUnavailableError: Triton does not respond.
            DeadlineExceededError: Triton did not finish the graph's running batches in time.
        """
        async with self._locks.setdefault(name, asyncio.Lock()):
            self._loaded.discard(name)
            if self._view is not None and not await self._view.may_unload(name):
                return
            await self._unload(name)

    async def ready(self, name: str) -> bool:
        """Return whether the graph can run batches now."""
        try:
            return await self._is_ready(name)
        except EngineError:
            return False

    async def loaded_as(self, name: str) -> LoadedAs | None:
        """Return how Triton has loaded a graph, for this server or another one; None if it is not ready."""
        if not await self._is_ready(name):
            return None
        config = (await self._call("ModelConfig", service_pb2.ModelConfigRequest(name=name), _CONTROL_TIMEOUT_S)).config
        return LoadedAs(layout=layout_of(config), max_items=config.max_batch_size)

    async def infer(
        self,
        name: str,
        inputs: Arrays,
        *,
        timeout_s: float | None = None,
        alone: bool = False,
        outputs: Sequence[str] | None = None,
    ) -> dict[str, Array]:
        """Run one batch; see ``GraphRunner.infer``. The returned arrays are read-only."""
        if self._connection is None:
            raise closed()
        try:
            return await run_batch(self._connection, name, inputs, timeout_s, alone=alone, outputs=outputs)
        except ValueError as error:
            raise InferenceError(f"graph {name!r} got an input whose dtype Triton does not support") from error
        except CallError as error:
            explained = await self._explain(error, name, timeout_s)
            # Our Python model answers INVALID_ARGUMENT for a failed batch; INTERNAL is Triton's, about the stub.
            is_stubs = self.backend == "python" and error.code == grpc.StatusCode.INTERNAL
            if isinstance(explained, InferenceError) and (is_stubs or self._has_faulty_stubs()):
                explained = EngineUnavailableError("a part of the engine died or hangs", retry_after_s=RETRY_AFTER_S)
            raise explained from error

    async def statistics(self) -> list[GraphStatistics]:
        """Return Triton's statistics of each loaded graph, without warm-up batches.

        Raises:
            EngineUnavailableError: Triton does not respond.
        """
        return [since(self._warmups.get(found.name), found) for found in await self._statistics()]

    def on_restart(self, callback: Callable[[], None]) -> None:
        """Register a callback that runs in the event loop when Triton is back or has lost a graph."""
        self._callbacks.append(callback)

    async def _explain(self, error: CallError, name: str, timeout_s: float | None) -> IngrainError:
        """Return the Ingrain error for a failed call of a graph."""
        # Triton also returns UNAVAILABLE for a graph that was unloaded.
        if error.code == grpc.StatusCode.UNAVAILABLE and await self._is_without(name):
            return ModelNotLoadedError(f"graph {name!r} is not loaded")
        return translate(error, f"graph {name!r}", timeout_s)

    async def _has(self, graph: Graph) -> bool:
        """Return whether Triton has this very graph ready; unload an older one of this server."""
        if not await self._is_ready(graph.name):
            return False
        if self._view is None or await self._view.is_current(graph):
            return True
        await self._unload(graph.name)
        return False

    async def _load_request(self, graph: Graph) -> Any:
        if self._view is None:
            return service_pb2.RepositoryModelLoadRequest(model_name=graph.name)
        return await self._view.load_request(graph)

    async def _is_ready(self, name: str) -> bool:
        request = service_pb2.ModelReadyRequest(name=name)
        try:
            return bool((await self._call("ModelReady", request, _CONTROL_TIMEOUT_S)).ready)
        except ModelNotLoadedError:
            return False

    async def _is_without(self, name: str) -> bool:
        """Return whether Triton responds but does not have this graph ready."""
        try:
            return not await self._is_ready(name)
        except EngineError:
            return False

    async def _unload(self, name: str) -> None:
        request = service_pb2.RepositoryModelUnloadRequest(model_name=name)
        await self._call("RepositoryModelUnload", request, self._load_timeout_s)
        deadline = time.monotonic() + self._load_timeout_s
        while not await self._is_gone(name):
            if time.monotonic() > deadline:
                raise DeadlineExceededError(f"Triton did not unload {name!r} within {self._load_timeout_s:g} s")
            await asyncio.sleep(_POLL_S)

    async def _statistics(self, name: str = "") -> list[GraphStatistics]:
        request = service_pb2.ModelStatisticsRequest(name=name)
        found = decode_statistics(await self._call("ModelStatistics", request, _CONTROL_TIMEOUT_S))
        return [one for one in await asyncio.gather(*map(self._from_stub, found)) if one is not None]

    async def _learn_to_ask(self, name: str) -> None:
        request = service_pb2.ModelConfigRequest(name=name)
        question = statistics_request((await self._call("ModelConfig", request, _CONTROL_TIMEOUT_S)).config)
        if question is not None:
            self._questions[name] = question.SerializeToString()

    async def _from_stub(self, found: GraphStatistics) -> GraphStatistics | None:
        """Return the statistics of a graph's stub if it keeps its own; None if the graph has been unloaded."""
        question = self._questions.get(found.name)
        if question is None:
            return found
        try:
            answer = await self._call("ModelInfer", question, _CONTROL_TIMEOUT_S)
        except (InferenceError, ModelNotLoadedError):
            return None
        (content,) = decode_infer(service_pb2.ModelInferResponse.FromString(answer)).values()
        return decode_stub_statistics(found.name, found.version, content)

    async def _is_gone(self, name: str) -> bool:
        # The index has one line per version of a model; an unloaded model has one line without a version.
        lines = await self._index(_CONTROL_TIMEOUT_S)
        return all(line.state in _GONE for line in lines if line.name == name) and not await self._is_ready(name)

    async def _index(self, timeout_s: float, *, only_ready: bool = False) -> list[Any]:
        """Return the lines of Triton's index; none if Triton cannot read a part of its root, such as a broken link."""
        try:
            answer = await self._call(
                "RepositoryIndex", service_pb2.RepositoryIndexRequest(ready=only_ready), timeout_s
            )
        except InferenceError:
            return []
        return list(answer.models)

    async def _call(self, method: str, request: Any, timeout_s: float) -> Any:
        """Call a method of Triton, and translate gRPC errors into Ingrain errors by status code."""
        if self._connection is None:
            raise closed()
        try:
            return await self._connection.call(method, request, timeout_s)
        except CallError as error:
            raise translate(error, method, timeout_s) from error

    async def _watch(self) -> None:
        was_live = True
        while True:
            await asyncio.sleep(self._watch_interval_s)
            live, lost = await self._look()
            if live and (lost or not was_live):
                live = await self._look_at_repository()
            self.responds = live
            if live and (lost or not was_live):
                logger.warning("Triton at %s was restarted or lost graphs: %s", self._target, sorted(lost) or "none")
                self._loaded -= lost
                for callback in self._callbacks:
                    callback()
            elif was_live and not live:
                logger.error("Triton at %s does not answer", self._target)
            was_live = live

    async def _look(self) -> tuple[bool, set[str]]:
        """Return whether Triton responds, and which of the loaded graphs it has lost."""
        expected = frozenset(self._loaded)
        try:
            ready = {model.name for model in await self._index(_LIVE_TIMEOUT_S, only_ready=True)}
            # Graphs that were sent are not in the index.
            missing = {name for name in expected - ready if not await self._is_ready(name)}
        except EngineError:
            return False, set()
        # Exclude graphs that are being loaded or were unloaded during the calls.
        return True, {name for name in missing if name in self._loaded and not self._locks[name].locked()}

    async def _look_at_repository(self) -> bool:
        """Find out again what Triton sees, which may differ after a restart; return whether that was possible."""
        try:
            if self._view is not None:
                await self._view.look()
        except EngineSetupError as error:
            logger.error("%s", error.message)
            return False
        except EngineError:
            return False
        except OSError as error:
            logger.error("The model repository cannot be read: %s", error)
            return False
        return True
