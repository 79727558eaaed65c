"""Describes the loaded models in OpenAI's words."""

from __future__ import annotations

from datetime import datetime

from ingrain.api import openai as types
from ingrain.errors import ModelNotLoadedError
from ingrain.models.loaded import LoadedModel
from ingrain.postprocess.quantize import NEEDS_RANGES, OutputDtype
from ingrain.preprocess.prompts import prompts_of
from ingrain.server.dialects.openai.input import Modality
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.answers import struct_answer
from ingrain.server.plane.services import Services
from ingrain.tasks.embed_outputs import OUTPUT_ROLES
from ingrain.vocabulary import Role

_DTYPES: tuple[OutputDtype, ...] = ("float", "int8", "uint8", "binary", "ubinary")


async def list_models(services: Services, request: Request) -> Response:
    """List the loaded models and the aliases of such."""
    del request
    data = [describe(name, model) for name, model in listed(services)]
    return struct_answer(types.OpenAIModelsAnswer(object="list", data=data))


async def one_model(services: Services, request: Request) -> Response:
    """Describe the model that the path names."""
    wanted = request.variable
    for name, model in listed(services):
        if name == wanted:
            return struct_answer(describe(name, model))
    raise ModelNotLoadedError(
        f"Model {wanted[:100]!r} is not loaded. GET /v1/models lists the loaded ones.", param="model"
    )


def listed(services: Services) -> list[tuple[str, LoadedModel]]:
    """Return the loaded models by name, and then by alias."""
    models = [(model.manifest.name, model) for model in services.registry.loaded()]
    names = {name for name, _ in models}
    return models + [one for one in services.registry.loaded_by_alias().items() if one[0] not in names]


def describe(name: str, model: LoadedModel) -> types.OpenAIModel:
    """Return the description of a model under a name."""
    manifest, text = model.manifest, model.manifest.text
    towers: dict[Modality, Role] = {"text": "text_encoder", "image": "image_encoder"}
    return types.OpenAIModel(
        id=name,
        object="model",
        created=int(datetime.fromisoformat(manifest.created_at).timestamp()),
        owned_by=manifest.library,
        library=manifest.library,
        pretrained=manifest.pretrained,
        task=manifest.task,
        dimensions=manifest.dimensions,
        labels=list(manifest.labels) if manifest.scoring is not None else [],
        max_tokens=text.max_tokens if text is not None else None,
        modalities=[kind for kind, role in towers.items() if role in model.queues],
        outputs=[output for output, role in OUTPUT_ROLES.items() if role in manifest.roles],
        prompts=prompts_of(text) if text is not None else {},
        default_prompt_name=text.default_prompt_name if text is not None else None,
        output_dtypes=[kind for kind in _DTYPES if kind not in NEEDS_RANGES or model.calibration is not None]
        if any(role in model.queues for role in towers.values())
        else [],
    )
