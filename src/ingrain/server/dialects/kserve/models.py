"""Routes that describe the server and its models, and tell whether they serve."""

from __future__ import annotations

from ingrain import __version__
from ingrain.errors import EngineUnavailableError
from ingrain.pipeline.task import ModelName
from ingrain.server.dialects.kserve import types
from ingrain.server.dialects.kserve.inference import model_of
from ingrain.server.dialects.kserve.interface import PLATFORM, VERSION, interface_of
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.answers import struct_answer, typed_answer
from ingrain.server.plane.bodies import decode
from ingrain.server.plane.readiness import check_loaded, reasons_not_ready, why_not_serving
from ingrain.server.plane.services import Services

EXTENSIONS = ["binary_tensor_data", "classification", "model_repository"]


async def server(services: Services, request: Request) -> Response:
    """Describe the server."""
    del services, request
    return struct_answer(types.KServeServerAnswer(name=PLATFORM, version=__version__, extensions=EXTENSIONS))


async def live(services: Services, request: Request) -> Response:
    """Say that the server lives."""
    del services, request
    return struct_answer(types.KServeLiveAnswer(live=True))


async def ready(services: Services, request: Request) -> Response:
    """Say whether the server is ready.

    Raises:
        EngineUnavailableError: It is not.
    """
    del request
    if await reasons_not_ready(services):
        raise EngineUnavailableError("The server is not ready.", retry_after_s=1.0)
    return struct_answer(types.KServeReadyAnswer(ready=True))


async def model_ready(services: Services, request: Request) -> Response:
    """Say whether a model is ready.

    Raises:
        IngrainError: It is not, or there is none.
    """
    name = model_of(request.variable)
    await ready_model(services, name)
    return struct_answer(types.KServeModelReadyAnswer(name=name, ready=True))


async def ready_model(services: Services, name: str) -> None:
    """Check that a model is ready; this loads none.

    Raises:
        ModelNotLoadedError: There is no such model.
        EngineUnavailableError, ModelLoadingError: It is not ready.
    """
    if reason := await why_not_serving(services):
        raise EngineUnavailableError(reason, retry_after_s=1.0)
    await check_loaded(services, name)


async def model(services: Services, request: Request) -> Response:
    """Describe a model."""
    return struct_answer(await described_model(services, model_of(request.variable)))


async def described_model(services: Services, name: str) -> types.KServeModelAnswer:
    """Return the description of a model."""
    interface = interface_of(await services.pipeline.model(ModelName(name=name)))
    return types.KServeModelAnswer(
        name=name, versions=[VERSION], platform=PLATFORM, inputs=interface.inputs, outputs=interface.outputs
    )


async def models(services: Services, request: Request) -> Response:
    """List the models that are ready."""
    del request
    return struct_answer(types.KServeModelsAnswer(models=[entry.name for entry in index_of(services, only_ready=True)]))


async def index(services: Services, request: Request) -> Response:
    """List the models with their states."""
    body = decode(request.body or b"{}", types.KServeIndexRequest)
    return typed_answer(index_of(services, only_ready=body.ready is True))


def index_of(services: Services, *, only_ready: bool) -> list[types.KServeIndexEntry]:
    """Return the models that should be loaded, with their states."""
    return [
        types.KServeIndexEntry(name=status.name, version=VERSION, state=status.state, reason=status.reason or "")
        for status in services.registry.statuses()
        if status.state == "READY" or not only_ready
    ]
