"""Routes that describe the loaded models and check a key."""

from __future__ import annotations

from typing import Literal

from ingrain.errors import ModelNotLoadedError
from ingrain.models.loaded import LoadedModel
from ingrain.server.dialects.cohere import types
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.answers import struct_answer
from ingrain.server.plane.services import Services
from ingrain.tasks.rerank import can_rerank


async def models(services: Services, request: Request) -> Response:
    """List the loaded models, all of them or those for one endpoint."""
    named = {model.manifest.name: model for model in services.registry.loaded()}
    found = [_described(name, model) for name, model in (services.registry.loaded_by_alias() | named).items()]
    wanted = request.query.get("endpoint")
    if wanted:
        found = [model for model in found if wanted in model.endpoints]
    return struct_answer(types.CohereModelsAnswer(models=found))


async def model(services: Services, request: Request) -> Response:
    """Describe one model."""
    name = request.variable
    for found in services.registry.loaded():
        if found.manifest.name == name:
            return struct_answer(_described(name, found))
    if (aliased := services.registry.loaded_by_alias().get(name)) is not None:
        return struct_answer(_described(name, aliased))
    raise ModelNotLoadedError(f"Model {name[:100]!r} is not loaded. GET /v1/models lists the loaded ones.")


async def check_api_key(services: Services, request: Request) -> Response:
    """Say that the key is valid; the endpoint has refused any other."""
    del services, request
    return struct_answer(types.CohereCheckApiKeyAnswer(valid=True, organization_id=None, owner_id=None))


def _described(name: str, model: LoadedModel) -> types.CohereModel:
    endpoints: list[Literal["embed", "rerank"]] = []
    if "text_encoder" in model.queues or "image_encoder" in model.queues:
        endpoints.append("embed")
    if can_rerank(model):
        endpoints.append("rerank")
    text = model.manifest.text
    return types.CohereModel(
        name=name,
        endpoints=endpoints,
        default_endpoints=[],
        is_deprecated=False,
        finetuned=False,
        features=None,
        tokenizer_url=None,
        context_length=text.max_tokens if text is not None else None,
    )
