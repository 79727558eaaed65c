"""The model plane: one short function a route."""

from __future__ import annotations

from typing import get_args

from ingrain.api import types
from ingrain.errors import InvalidRequestError, ModalityError
from ingrain.repository.desired import ModelRef
from ingrain.repository.manifest import Manifest
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.answers import struct_answer
from ingrain.server.plane.bodies import decode
from ingrain.server.plane.precision import why_not
from ingrain.server.plane.services import ModelServices
from ingrain.vocabulary import Library, Task


async def health(services: ModelServices, request: Request) -> Response:
    """Answer that the process lives."""
    del services, request
    return _message("The model server is running.")


async def load_model(services: ModelServices, request: Request) -> Response:
    """Load a model, making it first where the repository lacks it."""
    body = decode(request.body, types.LoadModelRequest)
    ref = ModelRef(
        name=body.name,
        library=body.library,
        pretrained=body.pretrained,
        revision=body.revision,
        precision=body.precision,
        task=_task_of(body),
    )
    if reason := why_not(ref.precision, services.settings, ref.library):
        raise InvalidRequestError(f"precision is {ref.precision!r}, {reason}", param="precision")
    return await load(services, ref)


def _task_of(body: types.LoadModelRequest) -> Task | None:
    """Return what a model is to do, in whichever words it was said.

    Raises:
        InvalidRequestError: It is no timm model, or the two words differ.
    """
    field = "task" if body.task is not None else "numClasses" if body.num_classes is not None else None
    if field is None:
        return None
    if body.library != "timm":
        raise InvalidRequestError(
            f"{field} is for timm models, whose weights may be a classifier's; leave it out for {body.library!r}.",
            param=field,
        )
    if body.num_classes == 0 and body.task == "classify":
        raise InvalidRequestError(
            "numClasses 0 makes an embedder, and task is 'classify'; leave one out.", param="task"
        )
    return body.task or "embed"


async def load(services: ModelServices, ref: ModelRef) -> Response:
    """Load a model and say whether it was loaded before."""
    loaded_now = await services.registry.load(ref)
    return _message(f"Model {ref.name} {'loaded successfully' if loaded_now else 'is already loaded'}.")


async def download_custom_model(services: ModelServices, request: Request) -> Response:
    """Fetch a model of the user's own from URLs."""
    body = decode(request.body, types.DownloadCustomModelRequest)
    await services.downloads.download(body)
    return _message(f"Model {body.name} downloaded successfully.")


async def unload_model(services: ModelServices, request: Request) -> Response:
    """Unload a model."""
    body = decode(request.body, types.ModelRequest)
    await services.registry.unload(body.name, library=body.library, pretrained=body.pretrained)
    return _message(f"Model {body.name} unloaded successfully.")


async def delete_model(services: ModelServices, request: Request) -> Response:
    """Remove a model from the repository."""
    body = decode(request.body, types.ModelRequest)
    await services.registry.delete(body.name, library=body.library, pretrained=body.pretrained)
    return _message(f"Model {body.name} deleted successfully.")


async def loaded_models(services: ModelServices, request: Request) -> Response:
    """List the models that can be inferred."""
    del request
    models = [
        types.LoadedModel(name=status.name, library=status.library, precision=status.precision)
        for status in services.registry.statuses()
        if status.state == "READY" and status.library is not None
    ]
    return struct_answer(types.LoadedModelsAnswer(models=models))


async def repository_models(services: ModelServices, request: Request) -> Response:
    """List all models with their states."""
    del request
    models = [
        types.RepositoryModel(
            name=status.name,
            library=status.library,
            state=status.state,
            pretrained=status.pretrained,
            precision=status.precision,
            reason=status.reason,
        )
        for status in await services.registry.repository_statuses()
    ]
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


async def model_embedding_size(services: ModelServices, request: Request) -> Response:
    """Tell the width of a model's vectors."""
    manifest = await queried_manifest(services, request)
    return struct_answer(types.EmbeddingSizeAnswer(embedding_size=manifest.embedding_size))


async def model_classification_labels(services: ModelServices, request: Request) -> Response:
    """Tell the names of a classifier's classes."""
    manifest = await queried_manifest(services, request)
    if not manifest.labels:
        raise ModalityError(f"Model {manifest.name!r} has no classification labels.", param="name")
    return struct_answer(types.LabelsAnswer(labels=list(manifest.labels)))


async def model_image_geometry(services: ModelServices, request: Request) -> Response:
    """Tell how pictures are prepared."""
    manifest = await queried_manifest(services, request)
    if manifest.image is None:
        raise ModalityError(f"Model {manifest.name!r} does not take images.", param="name")
    return struct_answer(types.ImageGeometryAnswer(size=list(manifest.image.size), steps=list(manifest.image.steps)))


async def queried_manifest(services: ModelServices, request: Request) -> Manifest:
    """Find the model that the query names."""
    known = ("name", "library", "pretrained")
    query = request.query
    for field in query:
        if field not in known:
            raise InvalidRequestError(
                f"Unknown query parameter {field!r}. The parameters are {', '.join(known)}.", param=field
            )
    name = query.get("name")
    if not name:
        raise InvalidRequestError("Query parameter 'name' is missing.", param="name")
    return await services.registry.manifest(
        name, library=_library(query.get("library")), pretrained=query.get("pretrained")
    )


def _library(given: str | None) -> Library | None:
    for library in get_args(Library):
        if given == library:
            return library  # type: ignore[no-any-return]  # get_args forgets that it is a Library
    if given:
        raise InvalidRequestError(
            f"library is {given!r}; it must be one of {', '.join(get_args(Library))}.", param="library"
        )
    return None


def _message(text: str) -> Response:
    return struct_answer(types.MessageAnswer(message=text))
