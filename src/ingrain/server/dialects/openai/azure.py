"""Azure's paths of OpenAI's API: a deployment is a model, and the version of the API is ignored."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from ingrain import errors
from ingrain.api import openai as types
from ingrain.server.dialects.openai.embeddings import embeddings, embeddings_of_any_model
from ingrain.server.dialects.openai.errors import CODES, error_body
from ingrain.server.dialects.openai.models import list_models, one_model
from ingrain.server.plane.route import Dialect, Parameter, Route, inference_route

# The codes that Azure itself gives; the others come from OpenAI's models behind it.
_CODES = {
    **CODES,
    errors.ModelNotLoadedError: "DeploymentNotFound",
    errors.RouteNotFoundError: "404",
    errors.AuthenticationError: "401",
    errors.QueueFullError: "429",
    errors.RateLimitError: "429",
}
_VERSION = (Parameter(name="api-version", description="Version of Azure's API; ignored."),)


def _models(name: str, path: str) -> Iterator[Route]:
    """Yield the routes of the list of models and of one of them."""
    shared: dict[str, Any] = {"plane": "inference", "method": "GET", "scope": "infer", "query": _VERSION}
    yield Route(
        name=f"{name}_models",
        path=path,
        handler=list_models,
        summary="List the loaded models as at /v1/models, under Azure's path.",
        answer=types.OpenAIModelsAnswer,
        **shared,
    )
    yield Route(
        name=f"{name}_model",
        path=f"{path}/{{model}}",
        handler=one_model,
        summary="Describe one loaded model as at /v1/models, under Azure's path.",
        answer=types.OpenAIModel,
        errors=(404,),
        **shared,
    )


AZURE = Dialect(
    name="Azure",
    routes=(
        inference_route(
            "azure_deployment_embeddings",
            embeddings_of_any_model,
            "Embed with the model that the path names; compatible with Azure OpenAI's clients.",
            types.AnyModelEmbeddingsRequest,
            types.OpenAIEmbeddingsAnswer,
            path="/openai/deployments/{model}/embeddings",
            example={"input": ["The river runs to the sea."]},
            takes_images=True,
            query=_VERSION,
        ),
        inference_route(
            "azure_embeddings",
            embeddings,
            "Embed as at /v1/embeddings, under Azure's path.",
            types.OpenAIEmbeddingsRequest,
            types.OpenAIEmbeddingsAnswer,
            path="/openai/v1/embeddings",
            example={"model": "intfloat/e5-small-v2", "input": ["The river runs to the sea."]},
            takes_images=True,
            query=_VERSION,
        ),
        *_models("azure", "/openai/models"),
        *_models("azure_v1", "/openai/v1/models"),
    ),
    error_body=partial(error_body, codes=_CODES),
    error_type=types.OpenAIErrorAnswer,
    prefix="/openai/",
)
