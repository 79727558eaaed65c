"""LM Studio's own paths, beside those of OpenAI's API."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ingrain.api import openai as types
from ingrain.errors import ModelNotLoadedError
from ingrain.models.loaded import LoadedModel
from ingrain.server.dialects.openai.embeddings import embeddings_of_any_model
from ingrain.server.dialects.openai.errors import error_body
from ingrain.server.dialects.openai.models import listed
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.answers import struct_answer
from ingrain.server.plane.route import Dialect, Route, inference_route
from ingrain.server.plane.services import Services
from ingrain.vocabulary import Role

_ENCODERS: frozenset[Role] = frozenset(("text_encoder", "image_encoder"))


class LmStudioModel(msgspec.Struct, frozen=True, kw_only=True):
    """A loaded model that embeds."""

    id: str
    object: Literal["model"]
    type: Literal["embeddings"]
    publisher: Annotated[str, Meta(description="Part of the name before its slash; empty without one.")]
    arch: str
    compatibility_type: Literal["onnx"]
    quantization: Annotated[str, Meta(description="Precision of the model's graphs.")]
    state: Literal["loaded"]
    max_context_length: Annotated[int | None, Meta(description="Maximum tokens of a text.")]


class LmStudioModelsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The loaded models that embed."""

    object: Literal["list"]
    data: list[LmStudioModel]


async def _models(services: Services, request: Request) -> Response:
    del request
    return struct_answer(LmStudioModelsAnswer(object="list", data=_described(services)))


async def _model(services: Services, request: Request) -> Response:
    for model in _described(services):
        if model.id == request.variable:
            return struct_answer(model)
    raise ModelNotLoadedError(f"No loaded model that embeds is called {request.variable[:100]!r}.", param="model")


def _described(services: Services) -> list[LmStudioModel]:
    """Return the models that embed; LM Studio has no others but those that generate text."""
    return [_describe(name, model) for name, model in listed(services) if not _ENCODERS.isdisjoint(model.queues)]


def _describe(name: str, model: LoadedModel) -> LmStudioModel:
    manifest = model.manifest
    return LmStudioModel(
        id=name,
        object="model",
        type="embeddings",
        publisher=name.rpartition("/")[0],
        arch=manifest.architecture,
        compatibility_type="onnx",
        quantization=manifest.precision,
        state="loaded",
        max_context_length=manifest.text.max_tokens if manifest.text is not None else None,
    )


LM_STUDIO = Dialect(
    name="LM Studio",
    routes=(
        inference_route(
            "lm_studio_embeddings",
            embeddings_of_any_model,
            "Embed as at /v1/embeddings, under LM Studio's path.",
            types.AnyModelEmbeddingsRequest,
            types.OpenAIEmbeddingsAnswer,
            path="/api/v0/embeddings",
            example={"model": "intfloat/e5-small-v2", "input": ["The river runs to the sea."]},
            takes_images=True,
        ),
        Route(
            name="lm_studio_models",
            plane="inference",
            method="GET",
            path="/api/v0/models",
            handler=_models,
            summary="List the loaded models that embed, as LM Studio does.",
            answer=LmStudioModelsAnswer,
            scope="infer",
        ),
        Route(
            name="lm_studio_model",
            plane="inference",
            method="GET",
            path="/api/v0/models/{model}",
            handler=_model,
            summary="Describe one loaded model that embeds, as LM Studio does.",
            answer=LmStudioModel,
            scope="infer",
            errors=(404,),
        ),
    ),
    error_body=error_body,
    error_type=types.OpenAIErrorAnswer,
    prefix="/api/v0/",
)
