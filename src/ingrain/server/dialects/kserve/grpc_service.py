"""The gRPC service of the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.message import Message
from tritonclient.grpc import service_pb2 as pb

from ingrain import __version__
from ingrain.errors import EngineUnavailableError, ModelLoadingError, NotFoundError
from ingrain.server.dialects.kserve import models
from ingrain.server.dialects.kserve.dialect import KSERVE
from ingrain.server.dialects.kserve.grpc_infer import model_infer, parsed, stream_infer, stream_refusal
from ingrain.server.dialects.kserve.inference import check_version
from ingrain.server.dialects.kserve.interface import PLATFORM
from ingrain.server.grpc.service import GrpcService, Method
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.readiness import reasons_not_ready
from ingrain.server.plane.route import Handler, Route
from ingrain.server.plane.services import Services
from ingrain.vocabulary import Scope

_NAME = "inference.GRPCInferenceService"


def _response(message: Message) -> Response:
    return Response(message.SerializeToString())


async def _server_live(services: Services, request: Request) -> Response:
    del services, request
    return _response(pb.ServerLiveResponse(live=True))


async def _server_ready(services: Services, request: Request) -> Response:
    del request
    return _response(pb.ServerReadyResponse(ready=not await reasons_not_ready(services)))


async def _server_metadata(services: Services, request: Request) -> Response:
    del services, request
    return _response(pb.ServerMetadataResponse(name=PLATFORM, version=__version__, extensions=models.EXTENSIONS))


async def _model_ready(services: Services, request: Request) -> Response:
    """Say whether a model is ready; one that is not there is not."""
    asked = parsed(pb.ModelReadyRequest, request.body)
    try:
        check_version(asked.version)
        await models.ready_model(services, asked.name)
    except (EngineUnavailableError, ModelLoadingError, NotFoundError):
        return _response(pb.ModelReadyResponse(ready=False))
    return _response(pb.ModelReadyResponse(ready=True))


async def _model_metadata(services: Services, request: Request) -> Response:
    asked = parsed(pb.ModelMetadataRequest, request.body)
    check_version(asked.version)
    model = await models.described_model(services, asked.name)
    answer = pb.ModelMetadataResponse(name=model.name, versions=model.versions, platform=model.platform)
    for tensors, described in ((answer.inputs, model.inputs), (answer.outputs, model.outputs)):
        for tensor in described:
            tensors.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    return _response(answer)


async def _repository_index(services: Services, request: Request) -> Response:
    asked = parsed(pb.RepositoryIndexRequest, request.body)
    answer = pb.RepositoryIndexResponse()
    for entry in models.index_of(services, only_ready=asked.ready):
        answer.models.add(name=entry.name, version=entry.version, state=entry.state, reason=entry.reason)
    return _response(answer)


def _method(
    name: str,
    handler: Handler,
    scope: Scope | None = "infer",
    *,
    infers: bool = False,
    refusal: Callable[[bytes, str], bytes] | None = None,
) -> Method:
    route = Route(
        name=name,
        plane="inference",
        method="POST",
        path=f"/{_NAME}/{name}",
        handler=handler,
        summary=name,
        scope=scope,
        limited=infers,
        takes_images=infers,
    )
    return Method(route=route, refusal=refusal)


_METHODS = (
    _method("ServerLive", _server_live, None),
    _method("ServerReady", _server_ready, None),
    _method("ServerMetadata", _server_metadata),
    _method("ModelReady", _model_ready),
    _method("ModelMetadata", _model_metadata),
    _method("RepositoryIndex", _repository_index),
    _method("ModelInfer", model_infer, infers=True),
    _method("ModelStreamInfer", stream_infer, infers=True, refusal=stream_refusal),
)
SERVICE = GrpcService(name=_NAME, methods={method.route.name: method for method in _METHODS}, dialect=KSERVE)
