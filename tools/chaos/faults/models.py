"""Faults of models: unloaded behind Ingrain's back, unknown, coming and going, and served with other settings."""

from __future__ import annotations

import asyncio

import grpc
import httpx
from tritonclient.grpc import service_pb2, service_pb2_grpc

from chaos.faults.registration import fault
from chaos.models import MODELS, SPARE
from chaos.set_up import SetUp, load, unload

_READY_LOOKS = 20
_ROLLING_S = 60.0


@fault()
async def unload_by_hand(set_up: SetUp) -> float:
    """Unload the graph of a model in Triton itself."""
    name = set_up.rng.choice(MODELS)
    (graph,) = (path.name for path in (set_up.repository / "triton").glob(f"{name}-*"))
    async with grpc.aio.insecure_channel(_target(set_up)) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        await stub.RepositoryModelUnload(service_pb2.RepositoryModelUnloadRequest(model_name=graph), timeout=30)
    return 0


@fault()
async def unknown_model(set_up: SetUp) -> float:
    """Load a model that does not exist; the front end stays ready meanwhile."""
    asked = asyncio.create_task(load(set_up, f"chaos-nowhere-{set_up.rng.getrandbits(32)}"))
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        for _ in range(_READY_LOOKS):
            if not await set_up.front_ends[0].is_ready(client):
                set_up.problems.append("/ready is not 200 while a model that does not exist is loaded")
                break
            await asyncio.sleep(0.05)
    answer = await asked
    if answer.status_code not in (400, 404, 503):
        set_up.problems.append(f"a model that does not exist: {answer.status_code} {answer.text[:300]}")
    return 0


@fault()
async def coming_and_going(set_up: SetUp) -> float:
    """Load and unload another model three times."""
    for _ in range(3):
        for do in (load, unload):
            answer = await do(set_up, SPARE)
            if answer.status_code != 200:
                set_up.problems.append(f"/{do.__name__}_model answered {answer.status_code}: {answer.text[:300]}")
    return 0


@fault()
async def rolling_restart(set_up: SetUp) -> float:
    """Restart every front end with another MAX_BATCH_SIZE, one after the other, as a rolling deployment does."""
    size = set_up.rng.choice([size for size in (8, 16, 32) if f"--max-batch-size={size}" not in _flags(set_up)])
    async with httpx.AsyncClient(trust_env=False) as client:
        for number, front_end in enumerate(set_up.front_ends):
            front_end.flags = [flag for flag in front_end.flags if not flag.startswith("--max-batch-size")]
            front_end.flags = [*front_end.flags, f"--max-batch-size={size}"]
            starts = front_end.starts
            try:
                async with asyncio.timeout(_ROLLING_S):
                    await front_end.terminate()
                    while front_end.starts == starts or not await front_end.is_ready(client):
                        await asyncio.sleep(0.1)
            except TimeoutError:
                set_up.problems.append(f"front end {number} is not ready {_ROLLING_S:g} s after its restart")
    return 0


def _flags(set_up: SetUp) -> list[str]:
    return [flag for front_end in set_up.front_ends for flag in front_end.flags]


def _target(set_up: SetUp) -> str:
    """Return the gRPC target of a tritonserver, past the proxy."""
    if set_up.tritons:
        return f"127.0.0.1:{set_up.rng.choice(set_up.tritons).port}"
    arguments = (part.lstrip("-").partition("=") for part in set_up.victim("tritonserver").cmdline())
    options = {name: value for name, _, value in arguments}
    return f"{options['grpc-address']}:{options['grpc-port']}"
