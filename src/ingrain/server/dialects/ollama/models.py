"""Routes that list, describe, load and delete models."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator

import msgspec

from ingrain import __version__
from ingrain.errors import IngrainError, ModelNotFoundError
from ingrain.models.loaded import LoadedModel
from ingrain.progress import Phase, Progress
from ingrain.repository.manifest import Manifest
from ingrain.server.dialects.ollama import types
from ingrain.server.dialects.ollama.bodies import decode_body
from ingrain.server.dialects.ollama.errors import message_of
from ingrain.server.dialects.ollama.names import LATEST, given_name, listed, model_named, model_to_load, split, tagged
from ingrain.server.http.message import Request, Response, StreamedResponse
from ingrain.server.plane.answers import struct_answer
from ingrain.server.plane.followed import followed
from ingrain.server.plane.operations import Operation
from ingrain.server.plane.route import Handler, Route
from ingrain.server.plane.services import ModelServices, Services
from ingrain.vocabulary import Precision

API_VERSION = "0.13.0"
"""The version of Ollama whose API this is; clients compare it with the one that they need."""

_NDJSON = "application/x-ndjson"
_NEVER = "2318-01-01T00:00:00Z"
_QUANTIZATION: dict[Precision, str] = {"fp32": "F32", "fp16": "F16", "int8": "INT8", "int8-safe": "INT8"}
_STATUS: dict[Phase, str] = {
    "read": "reading the model",
    "export": "converting to ONNX",
    "verify": "verifying",
    "tune": "tuning",
}

_encoder = msgspec.json.Encoder()


async def _tags(services: Services, request: Request) -> Response:
    del request
    return struct_answer(types.OllamaTagsAnswer([_listed(*one) for one in listed(services)]))


async def _ps(services: Services, request: Request) -> Response:
    del request
    models = [
        types.OllamaRunningModel(
            **msgspec.structs.asdict(_listed(name, model)),
            expires_at=_NEVER,
            context_length=_context_length(model.manifest),
        )
        for name, model in listed(services)
    ]
    return struct_answer(types.OllamaPsAnswer(models))


async def _show(services: Services, request: Request) -> Response:
    body = decode_body(request, types.OllamaShowRequest)
    manifest = (await services.pipeline.model(model_named(services, given_name(body)))).manifest
    family = _family(manifest)
    information: dict[str, object] = {"general.architecture": family, "general.basename": manifest.name}
    if manifest.text is not None:
        information[f"{family}.context_length"] = manifest.text.max_tokens
    embeds_texts = any(graph.role == "text_encoder" for graph in manifest.graphs)
    if embeds_texts:
        information[f"{family}.embedding_length"] = manifest.embedding_size
    return struct_answer(
        types.OllamaShowAnswer(
            modelfile=f"FROM {tagged(manifest)}\n",
            details=_details(manifest),
            model_info=information,
            capabilities=["embedding"] if embeds_texts else [],
            modified_at=manifest.created_at,
        )
    )


async def _version(services: Services, request: Request) -> Response:
    del services, request
    return struct_answer(types.OllamaVersionAnswer(version=API_VERSION, ingrain=__version__))


async def _pull(services: ModelServices, request: Request) -> Response:
    body = decode_body(request, types.OllamaPullRequest)
    ref = await model_to_load(services, given_name(body), body.library)
    operation = services.operations.start(ref, services.key)
    if body.stream is False:
        await operation.end()
        return struct_answer(types.OllamaProgressAnswer(status="success"))
    return StreamedResponse(pieces=_pull_lines(services, operation), media_type=_NDJSON)


async def _pull_lines(services: ModelServices, operation: Operation) -> AsyncGenerator[bytes, None]:
    """Yield the progress of a load; an error is the last line, as the client has the response's status."""
    digest = hashlib.sha256(operation.ref.key.encode()).hexdigest()
    yield _line(types.OllamaProgressAnswer(status="pulling manifest"))
    async for _ in followed(services, operation):
        if operation.is_running:
            yield _line(_told(operation.progress, digest))
    if operation.is_running:
        return  # the server stops, or the key is gone; without a last line the client knows that the end is missing
    try:
        await operation.end()
    except IngrainError as error:
        yield _line(types.OllamaErrorAnswer(message_of(error)))
    else:
        yield _line(types.OllamaProgressAnswer(status="success"))


def _told(progress: Progress | None, digest: str) -> types.OllamaProgressAnswer:
    if progress is None:
        return types.OllamaProgressAnswer(status="loading the model")
    if progress.phase == "download":
        status = f"pulling {digest[:12]}"
        is_measured = progress.unit == "bytes" and progress.total > 0
        return types.OllamaProgressAnswer(
            status=status,
            digest=f"sha256:{digest}",
            total=progress.total if is_measured else 0,
            completed=progress.done if is_measured else 0,
        )
    count = f" ({progress.done} of {progress.total} {progress.unit})" if progress.total else ""
    return types.OllamaProgressAnswer(status=f"{_STATUS[progress.phase]}{count}")


def _line(body: msgspec.Struct) -> bytes:
    return _encoder.encode(body) + b"\n"


async def _delete(services: ModelServices, request: Request) -> Response:
    given = given_name(decode_body(request, types.OllamaDeleteRequest))
    name, tag = split(given)
    weights = {one.pretrained for one in await services.registry.repository_statuses() if one.name == name}
    if tag not in (LATEST, *weights) and tagged(await services.registry.manifest(name)) != f"{name}:{tag}":
        raise ModelNotFoundError(f"model {given[:100]!r} not found", param="model")
    await services.registry.delete(name, pretrained=tag if tag in weights else None)
    return struct_answer(types.OllamaProgressAnswer(status="success"))


def _listed(name: str, model: LoadedModel) -> types.OllamaListedModel:
    manifest = model.manifest
    files = [*manifest.files, *(file for graph in manifest.graphs for file in graph.files)]
    return types.OllamaListedModel(
        name=name,
        model=name,
        modified_at=manifest.created_at,
        size=sum(file.size_bytes for file in files),
        digest=hashlib.sha256(_encoder.encode(manifest.untuned)).hexdigest(),
        details=_details(manifest),
    )


def _details(manifest: Manifest) -> types.OllamaDetails:
    family = _family(manifest)
    return types.OllamaDetails(family=family, families=[family], quantization_level=_QUANTIZATION[manifest.precision])


def _family(manifest: Manifest) -> str:
    return manifest.architecture.removesuffix("Model").lower()


def _context_length(manifest: Manifest) -> int:
    return manifest.text.max_tokens if manifest.text is not None else 0


def _get_route(name: str, handler: Handler, summary: str, answer: type) -> Route:
    return Route(
        name=f"ollama_{name}",
        plane="inference",
        method="GET",
        path=f"/api/{name}",
        handler=handler,
        summary=summary,
        answer=answer,
        scope="infer",
    )


ROUTES = (
    _get_route("tags", _tags, "List the loaded models, as Ollama does.", types.OllamaTagsAnswer),
    _get_route("ps", _ps, "List the loaded models, as Ollama lists those in memory.", types.OllamaPsAnswer),
    _get_route("version", _version, "Return the version of Ollama whose API this is.", types.OllamaVersionAnswer),
    Route(
        name="ollama_show",
        plane="inference",
        method="POST",
        path="/api/show",
        handler=_show,
        summary="Describe a loaded model, as Ollama does.",
        request=types.OllamaShowRequest,
        answer=types.OllamaShowAnswer,
        scope="infer",
        errors=(400, 404, 413, 503, 504),
    ),
    Route(
        name="ollama_pull",
        plane="model",
        method="POST",
        path="/api/pull",
        handler=_pull,
        summary="Load a model, as Ollama pulls one; one that is not in the repository is converted first.",
        notes="The response is a line of JSON for each step, unless `stream` is false; an error is the last line then.",
        request=types.OllamaPullRequest,
        answer=types.OllamaProgressAnswer,
        media=(_NDJSON,),
        scope="models",
        errors=(400, 404, 413, 503, 504, 507),
    ),
    Route(
        name="ollama_delete",
        plane="model",
        method="DELETE",
        path="/api/delete",
        handler=_delete,
        summary="Unload a model and delete it from the repository, as Ollama does.",
        request=types.OllamaDeleteRequest,
        answer=types.OllamaProgressAnswer,
        scope="models",
        errors=(400, 404, 413, 503, 507),
    ),
)
