"""A gRPC server with two of Triton's methods, which answer what a test says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
from tritonclient.grpc import service_pb2

Handler = Callable[[bytes, grpc.aio.ServicerContext], Awaitable[bytes]]


async def never(message: bytes, context: grpc.aio.ServicerContext) -> bytes:
    """Answer after a time that no test waits for."""
    await asyncio.sleep(300)
    return message


async def live(message: bytes, context: grpc.aio.ServicerContext) -> bytes:
    """Answer as a Triton that is live."""
    return service_pb2.ServerLiveResponse(live=True).SerializeToString()


@contextlib.asynccontextmanager
async def server(address: str, infer: Handler, *, health: Handler = live) -> AsyncIterator[grpc.aio.Server]:
    """Serve ``ModelInfer`` and ``ServerLive`` at an address."""
    served = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    methods = {
        name: grpc.unary_unary_rpc_method_handler(run) for name, run in (("ModelInfer", infer), ("ServerLive", health))
    }
    served.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("inference.GRPCInferenceService", methods)])
    served.add_insecure_port(address)
    await served.start()
    try:
        yield served
    finally:
        await served.stop(None)
