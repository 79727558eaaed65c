"""Azure's paths of OpenAI's API: a deployment is a model, and the version of the API is ignored."""

from __future__ import annotations

from ingrain.api import openai as types
from ingrain.server.dialects.openai.embeddings import embeddings, embeddings_of_any_model
from ingrain.server.dialects.openai.errors import error_body
from ingrain.server.dialects.openai.models import list_models
from ingrain.server.plane.route import Dialect, Parameter, Route, inference_route

_VERSION = (Parameter(name="api-version", description="Version of Azure's API; ignored."),)

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
        *(
            Route(
                name=name,
                plane="inference",
                method="GET",
                path=path,
                handler=list_models,
                summary="List the loaded models as at /v1/models, under Azure's path.",
                answer=types.OpenAIModelsAnswer,
                scope="infer",
                query=_VERSION,
            )
            for name, path in (("azure_models", "/openai/models"), ("azure_v1_models", "/openai/v1/models"))
        ),
    ),
    error_body=error_body,
    error_type=types.OpenAIErrorAnswer,
    prefix="/openai/",
)
