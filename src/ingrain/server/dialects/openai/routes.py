"""Routes of OpenAI's dialect: embeddings and the list of models."""

from __future__ import annotations

from ingrain.api import openai as types
from ingrain.server.dialects.openai.embeddings import embeddings
from ingrain.server.dialects.openai.models import list_models, one_model
from ingrain.server.plane.route import Route, inference_route

ROUTES = (
    inference_route(
        "openai_embeddings",
        embeddings,
        "Embed texts, token ids or images; compatible with OpenAI's clients.",
        types.OpenAIEmbeddingsRequest,
        types.OpenAIEmbeddingsAnswer,
        path="/v1/embeddings",
        takes_images=True,
        notes="X-Token-Ids is the encoding that was used for token ids, if the input has any. X-Truncated-Texts is the "
        "number of truncated texts, if there are any. With `Cache-Control: no-store` every text is computed, whatever "
        "the cache holds.",
    ),
    Route(
        name="openai_models",
        plane="inference",
        method="GET",
        path="/v1/models",
        handler=list_models,
        summary="List the loaded models with their prompts; compatible with OpenAI's clients.",
        answer=types.OpenAIModelsAnswer,
        scope="infer",
    ),
    Route(
        name="openai_model",
        plane="inference",
        method="GET",
        path="/v1/models/{model}",
        handler=one_model,
        summary="Describe one loaded model.",
        answer=types.OpenAIModel,
        scope="infer",
        errors=(404,),
    ),
)
