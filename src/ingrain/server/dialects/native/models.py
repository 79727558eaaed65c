"""Routes that load, unload, delete and describe models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast, get_args

import msgspec

from ingrain.api import types
from ingrain.api.custom_models import DownloadCustomModelRequest
from ingrain.errors import InvalidRequestError, ModalityError
from ingrain.libraries import LIBRARIES
from ingrain.registry.status import ModelStatus
from ingrain.repository.manifest import Manifest
from ingrain.repository.models_to_load import ModelRef
from ingrain.server.dialects.native.operations import described
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.answers import struct_answer
from ingrain.server.plane.bodies import decode
from ingrain.server.plane.keep_alive import seconds_of
from ingrain.server.plane.route import Handler, Parameter, Route
from ingrain.server.plane.services import ModelServices
from ingrain.vocabulary import Library, Task


async def _load_model(services: ModelServices, request: Request) -> Response:
    body = decode(request.body, types.LoadModelRequest)
    ref = ModelRef(
        name=body.name,
        library=body.library,
        pretrained=body.pretrained,
        revision=body.revision,
        precision=body.precision,
        task=_task_of(body),
        pin=body.pin,
        keep_alive_s=seconds_of(body.keep_alive, "keepAlive") if body.keep_alive is not None else None,
    )
    if reason := services.why_not(ref.precision, ref.library):
        raise InvalidRequestError(f"precision is {ref.precision!r}, {reason}", param="precision")
    if body.wait is False:
        operation = services.operations.start(ref, services.key)
        answer = struct_answer(described(operation), 202)
        answer.headers["location"] = f"/operations/{operation.id}"
        return answer
    return await load(services, ref)


def _task_of(body: types.LoadModelRequest) -> Task | None:
    """Return the requested task, from ``task`` or from ``numClasses``, its timm name.

    Raises:
        InvalidRequestError: The library's models have no such task, or the two fields contradict each other.
    """
    field = "task" if body.task is not None else "numClasses" if body.num_classes is not None else None
    if field is None:
        return None
    if body.num_classes is not None and body.library != "timm":
        raise InvalidRequestError(
            f"numClasses is for timm models only; leave it out for {body.library!r}.", param="numClasses"
        )
    tasks = LIBRARIES[body.library].tasks
    if body.task is not None and body.task not in tasks:
        known = f"it must be {' or '.join(map(repr, tasks))}" if tasks else "their task follows from the model"
        raise InvalidRequestError(
            f"task is {body.task!r}; for models of {body.library!r} {known}, or leave it out.", param="task"
        )
    if body.num_classes == 0 and body.task == "classify":
        raise InvalidRequestError(
            "numClasses 0 means task 'embed', but task is 'classify'; leave one of them out.", param="task"
        )
    return body.task or "embed"


async def load(services: ModelServices, ref: ModelRef) -> Response:
    """Load a model; the message says whether it was loaded already, and its task unless it only embeds."""
    operation = services.operations.start(ref, services.key)
    await operation.end()
    known = (ref.name, ref.library, ref.pretrained)
    found = [one for one in services.registry.statuses() if (one.name, one.library, one.pretrained) == known]
    task = "".join(map(_told_task, found))
    return _message(f"Model {ref.name} {'is already loaded' if operation.was_loaded else 'loaded successfully'}{task}.")


def _told_task(status: ModelStatus) -> str:
    if status.task != "embed":
        return f"; its task is {status.task}"
    return f"; its tasks are {', '.join(status.tasks)}" if len(status.tasks) > 1 else ""


async def _download_custom_model(services: ModelServices, request: Request) -> Response:
    body = decode(request.body, DownloadCustomModelRequest)
    await services.downloads.download(body)
    return _message(f"Model {body.name} downloaded successfully.")


async def _unload_model(services: ModelServices, request: Request) -> Response:
    body = decode(request.body, types.ModelRequest)
    await services.registry.unload(body.name, library=body.library, pretrained=body.pretrained)
    return _message(f"Model {body.name} unloaded successfully.")


async def _delete_model(services: ModelServices, request: Request) -> Response:
    body = decode(request.body, types.ModelRequest)
    await services.registry.delete(body.name, library=body.library, pretrained=body.pretrained)
    return _message(f"Model {body.name} deleted successfully.")


async def _loaded_models(services: ModelServices, request: Request) -> Response:
    del request
    models = [
        types.LoadedModel(
            name=status.name,
            library=status.library,
            precision=status.precision,
            task=status.task,
            tasks=_several(status.tasks),
            memory_bytes=status.memory_bytes,
            pinned=status.is_pinned,
        )
        for status in services.registry.statuses()
        if status.state == "READY" and status.library is not None
    ]
    return struct_answer(types.LoadedModelsAnswer(models=models))


async def _repository_models(services: ModelServices, request: Request) -> Response:
    del request
    models = [model_state(status) for status in await services.registry.repository_statuses()]
    models += [
        types.RepositoryModel(
            name=download.request.name,
            library=download.request.library,
            state="UNAVAILABLE",
            pretrained=download.request.pretrained,
            reason=f"It is being downloaded: {download.received_bytes() / 1e6:.1f} MB so far.",
        )
        for download in services.downloads.in_progress()
    ]
    return struct_answer(types.RepositoryModelsAnswer(models=models))


def model_state(status: ModelStatus) -> types.RepositoryModel:
    """Return a model's status as it is sent."""
    return types.RepositoryModel(
        name=status.name,
        library=status.library,
        state=status.state,
        pretrained=status.pretrained,
        precision=status.precision,
        task=status.task,
        tasks=_several(status.tasks),
        reason=status.reason,
        memory_bytes=status.memory_bytes,
        pinned=status.is_pinned,
    )


def _several(tasks: Sequence[Task]) -> list[Task]:
    return list(tasks) if len(tasks) > 1 else []


async def _model_embedding_size(services: ModelServices, request: Request) -> Response:
    manifest = await queried_manifest(services, request)
    if manifest.dimensions is None:
        raise ModalityError(f"Model {manifest.name!r} gives scores, not vectors.", param="name")
    return struct_answer(types.EmbeddingSizeAnswer(embedding_size=manifest.dimensions))


async def _model_classification_labels(services: ModelServices, request: Request) -> Response:
    manifest = await queried_manifest(services, request)
    if not manifest.labels:
        raise ModalityError(f"Model {manifest.name!r} has no classification labels.", param="name")
    return struct_answer(types.LabelsAnswer(labels=list(manifest.labels)))


async def _model_image_geometry(services: ModelServices, request: Request) -> Response:
    manifest = await queried_manifest(services, request)
    if manifest.image is None:
        raise ModalityError(f"Model {manifest.name!r} does not take images.", param="name")
    image = msgspec.to_builtins(manifest.image)
    return struct_answer(msgspec.convert({key: image[key] for key in ("size", "steps")}, types.ImageGeometryAnswer))


async def queried_manifest(services: ModelServices, request: Request) -> Manifest:
    """Return the manifest of the model that the query parameters name."""
    query = checked_query(request, MODEL_QUERY)
    name = query.get("name")
    if not name:
        raise InvalidRequestError("Query parameter 'name' is missing.", param="name")
    return await services.registry.manifest(
        name, library=library_of(query.get("library")), pretrained=query.get("pretrained") or None
    )


def checked_query(request: Request, parameters: Sequence[Parameter]) -> dict[str, str]:
    """Return the query parameters of a request.

    Raises:
        InvalidRequestError: The route has no such parameter.
    """
    known = [parameter.name for parameter in parameters]
    for field in request.query:
        if field not in known:
            raise InvalidRequestError(
                f"Unknown query parameter {field!r}. The parameters are {', '.join(known)}.", param=field
            )
    return request.query


def library_of(given: str | None) -> Library | None:
    """Return the source library in a query, None if it is not given."""
    if given and given not in get_args(Library):
        raise InvalidRequestError(
            f"library is {given!r}; it must be one of {', '.join(get_args(Library))}.", param="library"
        )
    return cast("Library | None", given or None)


def _message(text: str) -> Response:
    return struct_answer(types.MessageAnswer(message=text))


MODEL_QUERY = (
    Parameter(name="name", description="Name of the model in its source library.", required=True),
    Parameter(name="library", description="Source library; needed if several models share a name."),
    Parameter(name="pretrained", description="Weight tag of an OpenCLIP model."),
)
"""Query parameters of the routes that describe a model."""


def model_route(name: str, handler: Handler, summary: str, request: type, answer: type, **fields: Any) -> Route:
    """Return a route that changes a model: by default ``POST /name`` on the model plane."""
    fields = {"method": "POST", "errors": (400, 404, 413, 503, 507)} | fields
    return Route(
        name=name,
        plane="model",
        path=f"/{name}",
        handler=handler,
        summary=summary,
        request=request,
        answer=answer,
        scope="models",
        **fields,
    )


def load_route(name: str, handler: Handler, summary: str, request: type, **fields: Any) -> Route:
    """Return a route that loads a model."""
    return model_route(
        name, handler, summary, request, types.MessageAnswer, errors=(400, 404, 413, 503, 504, 507), **fields
    )


def query_route(
    name: str, handler: Handler, summary: str, answer: type, *, query: tuple[Parameter, ...] = MODEL_QUERY
) -> Route:
    """Return a ``GET`` route: it describes the model that ``query`` names, or lists models if ``query`` is empty."""
    return Route(
        name=name,
        plane="model",
        method="GET",
        path=f"/{name}",
        handler=handler,
        summary=summary,
        answer=answer,
        query=query,
        scope="models",
        errors=(400, 404, 503) if query else (503,),
    )


ROUTES = (
    load_route(
        "load_model",
        _load_model,
        "Load a model; a model that is not in the repository is converted first.",
        types.LoadModelRequest,
        notes="With `wait: false` the answer comes at once: status 202 with an operation, as at `/operations/{id}`.",
    ),
    model_route(
        "download_custom_model",
        _download_custom_model,
        "Download a custom model from URLs; load it afterwards by /load_model with its name and library.",
        DownloadCustomModelRequest,
        types.MessageAnswer,
        errors=(400, 413, 503, 504, 507),
    ),
    model_route(
        "unload_model",
        _unload_model,
        "Unload a model; it stays in the repository.",
        types.ModelRequest,
        types.MessageAnswer,
    ),
    model_route(
        "delete_model",
        _delete_model,
        "Unload a model and delete it from the repository.",
        types.ModelRequest,
        types.MessageAnswer,
        method="DELETE",
    ),
    query_route("loaded_models", _loaded_models, "List the loaded models.", types.LoadedModelsAnswer, query=()),
    query_route(
        "repository_models",
        _repository_models,
        "List all models of the repository with their states.",
        types.RepositoryModelsAnswer,
        query=(),
    ),
    query_route(
        "model_embedding_size",
        _model_embedding_size,
        "Return the number of dimensions of a model's vectors.",
        types.EmbeddingSizeAnswer,
    ),
    query_route(
        "model_classification_labels",
        _model_classification_labels,
        "Return the labels of a classifier.",
        types.LabelsAnswer,
    ),
    query_route(
        "model_image_geometry",
        _model_image_geometry,
        "Describe how a model's images are resized and cropped.",
        types.ImageGeometryAnswer,
    ),
)
