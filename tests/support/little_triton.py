"""A Triton in the test's process: it loads what lies in a folder or is sent, and adds up the ids of each text."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from ingrain.repository.execution_policy import ExecutionPolicy
from ingrain.repository.graph_folder import write_graph_folder
from ingrain.repository.manifest import Graph, StoredFile, Tensor
from processes import free_port


def little_graph(root: Path, name: str, *, content: str = "first", max_batch_size: int = 8) -> Graph:
    """Write a graph's folder, as Ingrain does, and return its description."""
    shape = (-1, -1)
    graph = Graph(
        name=name,
        role="text_encoder",
        inputs=(Tensor("input_ids", "INT64", shape),),
        outputs=(Tensor("sentence_embedding", "FP32", (-1, 2)),),
        files=(StoredFile("1/model.onnx", len(content), content),),
    )
    policy = ExecutionPolicy(max_batch_size=max_batch_size, instance_kind="KIND_CPU", instances=1)
    write_graph_folder(root / name, graph, "onnxruntime", policy)
    (root / name / "1" / "model.onnx").write_text(content)
    return graph


class LittleTriton(service_pb2_grpc.GRPCInferenceServiceServicer):
    """A Triton at an address of the loopback, which a test can kill, start again, stop and resume.

    A text's row is the sum of its ids, and the length of the file that was loaded as its graph.

    Args:
        root: Its model repository.
        address: Address without port.
        port: Port; None for a free one.

    Attributes:
        models: Configuration and content of the loaded models.
        calls: What was asked of it, as ``load NAME``, ``unload NAME`` and ``infer NAME``, in order.
        infer_s: Seconds that a batch takes.
        refuses: Names of models that it cannot load.
    """

    def __init__(self, root: Path, address: str = "127.0.0.1", port: int | None = None) -> None:
        self.root = root
        self.address = f"{address}:{port or free_port()}"
        self.models: dict[str, tuple[model_config_pb2.ModelConfig, bytes]] = {}
        self.calls: list[str] = []
        self.counts: Counter[str] = Counter()
        self.infer_s = 0.0
        self.refuses: set[str] = set()
        self._goes_on = asyncio.Event()
        self._goes_on.set()
        self._server: grpc.aio.Server | None = None

    async def __aenter__(self) -> LittleTriton:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.resume()
        await self.kill()

    async def start(self) -> None:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        self._server.add_insecure_port(self.address)
        await self._server.start()

    async def kill(self) -> None:
        """End at once, and forget all models."""
        server, self._server = self._server, None
        self.models.clear()
        self.counts.clear()
        if server is not None:
            await server.stop(None)

    def stop(self) -> None:
        """Answer nothing more, but keep the connections, as a stopped process does."""
        self._goes_on.clear()

    def resume(self) -> None:
        self._goes_on.set()

    async def ServerLive(self, request: Any, context: grpc.aio.ServicerContext) -> Any:  # noqa: N802 - the method's name
        await self._goes_on.wait()
        return service_pb2.ServerLiveResponse(live=True)

    async def RepositoryIndex(self, request: Any, context: grpc.aio.ServicerContext) -> Any:  # noqa: N802
        await self._goes_on.wait()
        answer = service_pb2.RepositoryIndexResponse()
        for folder in self.root.iterdir():
            is_loaded = folder.name in self.models
            if is_loaded or not request.ready:
                answer.models.add(name=folder.name, state="READY" if is_loaded else "UNAVAILABLE")
        return answer

    async def ModelReady(self, request: Any, context: grpc.aio.ServicerContext) -> Any:  # noqa: N802
        await self._goes_on.wait()
        return service_pb2.ModelReadyResponse(ready=request.name in self.models)

    async def ModelConfig(self, request: Any, context: grpc.aio.ServicerContext) -> Any:  # noqa: N802
        await self._check(request.name, context)
        return service_pb2.ModelConfigResponse(config=self.models[request.name][0])

    async def ModelStatistics(self, request: Any, context: grpc.aio.ServicerContext) -> Any:  # noqa: N802
        await self._goes_on.wait()
        answer = service_pb2.ModelStatisticsResponse()
        for name in self.models:
            if request.name in ("", name):
                answer.model_stats.add(
                    name=name, version="1", inference_count=self.counts[name], execution_count=self.counts[name]
                )
        return answer

    async def RepositoryModelLoad(self, request: Any, context: grpc.aio.ServicerContext) -> Any:  # noqa: N802
        await self._goes_on.wait()
        name = request.model_name
        self.calls.append(f"load {name}")
        if name in self.refuses:
            await context.abort(grpc.StatusCode.INTERNAL, "failed to load")
        config = model_config_pb2.ModelConfig()
        if "config" in request.parameters:
            json_format.Parse(request.parameters["config"].string_param, config)
            content = request.parameters["file:1/model.onnx"].bytes_param
        elif (self.root / name / "config.pbtxt").exists():
            text_format.Parse((self.root / name / "config.pbtxt").read_text(), config)
            content = (self.root / name / "1" / "model.onnx").read_bytes()
        else:
            await context.abort(grpc.StatusCode.INTERNAL, "failed to poll from model repository")
        self.models.setdefault(name, (config, content))
        return service_pb2.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(self, request: Any, context: grpc.aio.ServicerContext) -> Any:  # noqa: N802
        await self._goes_on.wait()
        if request.model_name == "-":  # how Ingrain finds out whether models can be loaded
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "unknown model")
        self.calls.append(f"unload {request.model_name}")
        self.models.pop(request.model_name, None)
        self.counts.pop(request.model_name, None)
        return service_pb2.RepositoryModelUnloadResponse()

    async def ModelInfer(self, request: Any, context: grpc.aio.ServicerContext) -> Any:  # noqa: N802
        self.calls.append(f"infer {request.model_name}")
        await asyncio.sleep(self.infer_s)
        await self._check(request.model_name, context)
        ids = np.frombuffer(request.raw_input_contents[0], np.int64).reshape(tuple(request.inputs[0].shape))
        size = len(self.models[request.model_name][1])
        rows = np.stack([ids.sum(axis=1), np.full(len(ids), size)], axis=1).astype(np.float32)
        self.counts[request.model_name] += len(ids)
        answer = service_pb2.ModelInferResponse(model_name=request.model_name, id=request.id)
        answer.outputs.add(name="sentence_embedding", datatype="FP32", shape=rows.shape)
        answer.raw_output_contents.append(rows.tobytes())
        return answer

    async def _check(self, name: str, context: grpc.aio.ServicerContext) -> None:
        await self._goes_on.wait()
        if name not in self.models:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown model")


@contextlib.asynccontextmanager
async def little_tritons(root: Path, *addresses: str) -> AsyncIterator[list[LittleTriton]]:
    """Run a Triton at each address, on the same port if the addresses differ."""
    port = free_port() if len(set(addresses)) == len(addresses) else None
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(LittleTriton(root, address, port)) for address in addresses]
