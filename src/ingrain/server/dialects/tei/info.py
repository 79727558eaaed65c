"""Routes that describe a model, and tell whether it serves."""

from __future__ import annotations

from ingrain import __version__
from ingrain.models.loaded import LoadedModel
from ingrain.server.dialects.tei import types
from ingrain.server.dialects.tei.inputs import ROLES, any_model_of
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.answers import struct_answer
from ingrain.server.plane.readiness import check_loaded
from ingrain.server.plane.services import Services
from ingrain.vocabulary import Role

_DTYPES = {"fp32": "float32", "fp16": "float16"}
_POOLINGS: dict[Role | None, str] = {
    "sparse_encoder": "splade",
    "multi_vector_encoder": "none",
    "token_encoder": "none",
}
# The pooling of dense vectors is inside the graph and not recorded.
_OF_THE_MODEL = "model"


async def info(services: Services, request: Request) -> Response:
    """Describe the model that the path names, else the default model of the first task that a loaded model does."""
    model = await services.pipeline.model(any_model_of(services, request))
    manifest, role = model.manifest, next((role for role in ROLES if role in model.queues), None)
    limits = model.queues[role].limits if role is not None else None
    return struct_answer(
        types.TeiInfoAnswer(
            model_id=manifest.name,
            model_sha=manifest.revision,
            model_dtype=_DTYPES.get(manifest.precision, manifest.precision),
            model_type=_type_of(model, role),
            max_concurrent_requests=services.limits.max_requests,
            max_input_length=model.text.config.max_tokens if model.text is not None else 0,
            max_batch_tokens=limits.max_tokens if limits is not None else 0,
            max_batch_requests=limits.max_items if limits is not None else None,
            max_client_batch_size=services.limits.max_items,
            auto_truncate=False,
            tokenization_workers=model.text_threads.threads,
            version=__version__,
            sha=None,
            docker_label=None,
        )
    )


async def health(services: Services, request: Request) -> Response:
    """Answer with an empty body if the model serves."""
    await check_loaded(services, request.variable)
    return Response(b"", media_type="text/plain")


def _type_of(model: LoadedModel, role: Role | None) -> types.ModelType:
    labels = dict(enumerate(model.manifest.labels))
    if role == "text_scorer":
        kind = types.ClassifierModel(
            id2label={str(place): label for place, label in labels.items()},
            label2id={label: place for place, label in labels.items()},
        )
        return types.ModelType(reranker=kind) if len(labels) <= 1 else types.ModelType(classifier=kind)
    return types.ModelType(embedding=types.EmbeddingModel(pooling=_POOLINGS.get(role, _OF_THE_MODEL)))
