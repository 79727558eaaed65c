"""The table of routes: what there is, on which plane, with which body and which key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from ingrain.api import openai, tuning, types

Plane = Literal["inference", "model"]
Scope = Literal["infer", "models", "metrics"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryParameter:
    """A parameter in the query string."""

    name: str
    description: str
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteInfo:
    """One route of the API.

    Attributes:
        name: What server and client call it.
        plane: Which port it is on; None for both.
        method: HTTP method.
        path: Path; what it ends in may be a ``{name}`` that stands for all that follows, slashes too.
        summary: One sentence.
        request: Type of the JSON body, if it takes one.
        answer: Type of the JSON answer, if it is JSON.
        query: Parameters in the query string.
        scope: Scope that a key needs; None for routes that are always open.
        first_generation: True for routes kept for older clients.
        limited: True where requests count against INGRAIN_MAX_REQUESTS.
        errors: Statuses it may answer besides 401, 403 and 500.
    """

    name: str
    plane: Plane | None
    method: Literal["GET", "POST", "DELETE"]
    path: str
    summary: str
    request: type[msgspec.Struct] | None = None
    answer: type | None = None
    query: tuple[QueryParameter, ...] = ()
    scope: Scope | None = None
    first_generation: bool = False
    limited: bool = False
    errors: tuple[int, ...] = ()

    @property
    def speaks_openai(self) -> bool:
        """Whether its errors are OpenAI's error object."""
        return self.path.startswith("/v1/")


_MODEL_QUERY = (
    QueryParameter(name="name", description="What the source library calls the model.", required=True),
    QueryParameter(name="library", description="Source library, where several models share a name."),
    QueryParameter(name="pretrained", description="Weight tag of an OpenCLIP model."),
)
_INFER_ERRORS = (400, 404, 413, 429, 503, 504)
_LOAD_ERRORS = (400, 404, 413, 503, 504)


def _infer(name: str, path: str, summary: str, request: type, answer: type, *, first: bool = False) -> RouteInfo:
    return RouteInfo(
        name=name,
        plane="inference",
        method="POST",
        path=path,
        summary=summary,
        request=request,
        answer=answer,
        scope="infer",
        limited=True,
        first_generation=first,
        errors=_INFER_ERRORS,
    )


def _load(name: str, path: str, summary: str, request: type, *, first: bool = False) -> RouteInfo:
    return RouteInfo(
        name=name,
        plane="model",
        method="POST",
        path=path,
        summary=summary,
        request=request,
        answer=types.MessageAnswer,
        scope="models",
        first_generation=first,
        errors=_LOAD_ERRORS,
    )


ROUTES: tuple[RouteInfo, ...] = (
    RouteInfo(
        name="health",
        plane=None,
        method="GET",
        path="/health",
        summary="Tell that the process is alive.",
        answer=types.MessageAnswer,
    ),
    RouteInfo(
        name="ready",
        plane=None,
        method="GET",
        path="/ready",
        summary="Tell whether the engine answers and all models that should be loaded are; 503 says what is missing.",
        answer=types.ReadyAnswer,
        errors=(503,),
    ),
    _infer("embed_text", "/embed_text", "Embed texts.", types.EmbedTextRequest, types.EmbeddingsAnswer),
    _infer("embed_image", "/embed_image", "Embed images.", types.EmbedImageRequest, types.EmbeddingsAnswer),
    _infer("embed", "/embed", "Embed texts and images side by side.", types.EmbedRequest, types.EmbedAnswer),
    _infer(
        "classify_image",
        "/classify_image",
        "Classify images with a model's own labels.",
        types.ClassifyImageRequest,
        types.ProbabilitiesAnswer,
    ),
    _infer(
        "classify_image_zero_shot",
        "/classify_image_zero_shot",
        "Classify images with labels of your own, by a model with a text and an image tower.",
        types.ZeroShotRequest,
        types.ZeroShotAnswer,
    ),
    _infer(
        "openai_embeddings",
        "/v1/embeddings",
        "Embed texts, token ids or pictures, as OpenAI's clients ask for it.",
        openai.OpenAIEmbeddingsRequest,
        openai.OpenAIEmbeddingsAnswer,
    ),
    RouteInfo(
        name="openai_models",
        plane="inference",
        method="GET",
        path="/v1/models",
        summary="List the loaded models with their prompts, as OpenAI's clients ask for it.",
        answer=openai.OpenAIModelsAnswer,
        scope="infer",
    ),
    RouteInfo(
        name="openai_model",
        plane="inference",
        method="GET",
        path="/v1/models/{model}",
        summary="Describe one loaded model.",
        answer=openai.OpenAIModel,
        scope="infer",
        errors=(404,),
    ),
    _infer("infer_text", "/infer_text", "As /embed_text.", types.EmbedTextRequest, types.EmbeddingsAnswer, first=True),
    _infer(
        "infer_image", "/infer_image", "As /embed_image.", types.EmbedImageRequest, types.EmbeddingsAnswer, first=True
    ),
    _infer("infer", "/infer", "As /embed.", types.EmbedRequest, types.EmbedAnswer, first=True),
    RouteInfo(
        name="metrics",
        plane="inference",
        method="GET",
        path="/metrics",
        summary="Statistics of the engine as JSON; Prometheus text where `Accept` prefers text/plain or OpenMetrics.",
        answer=types.MetricsAnswer,
        scope="metrics",
        errors=(503,),
    ),
    _load("load_model", "/load_model", "Load a model, converting it first if need be.", types.LoadModelRequest),
    RouteInfo(
        name="download_custom_model",
        plane="model",
        method="POST",
        path="/download_custom_model",
        summary="Fetch a model of your own from URLs; /load_model with its name and library then loads it.",
        request=types.DownloadCustomModelRequest,
        answer=types.MessageAnswer,
        scope="models",
        errors=(400, 413, 503, 504),
    ),
    RouteInfo(
        name="unload_model",
        plane="model",
        method="POST",
        path="/unload_model",
        summary="Unload a model; it stays in the repository.",
        request=types.ModelRequest,
        answer=types.MessageAnswer,
        scope="models",
        errors=(400, 404, 413),
    ),
    RouteInfo(
        name="delete_model",
        plane="model",
        method="DELETE",
        path="/delete_model",
        summary="Unload a model and remove it from the repository.",
        request=types.ModelRequest,
        answer=types.MessageAnswer,
        scope="models",
        errors=(400, 404, 413),
    ),
    RouteInfo(
        name="loaded_models",
        plane="model",
        method="GET",
        path="/loaded_models",
        summary="List the loaded models.",
        answer=types.LoadedModelsAnswer,
        scope="models",
    ),
    RouteInfo(
        name="repository_models",
        plane="model",
        method="GET",
        path="/repository_models",
        summary="List all models of the repository with their state.",
        answer=types.RepositoryModelsAnswer,
        scope="models",
    ),
    RouteInfo(
        name="model_embedding_size",
        plane="model",
        method="GET",
        path="/model_embedding_size",
        summary="Tell the width of a model's vectors.",
        answer=types.EmbeddingSizeAnswer,
        query=_MODEL_QUERY,
        scope="models",
        errors=(400, 404),
    ),
    RouteInfo(
        name="model_classification_labels",
        plane="model",
        method="GET",
        path="/model_classification_labels",
        summary="Tell the names of a classifier's classes.",
        answer=types.LabelsAnswer,
        query=_MODEL_QUERY,
        scope="models",
        errors=(400, 404),
    ),
    RouteInfo(
        name="model_image_geometry",
        plane="model",
        method="GET",
        path="/model_image_geometry",
        summary="Tell how a model's pictures are resized and cropped.",
        answer=types.ImageGeometryAnswer,
        query=_MODEL_QUERY,
        scope="models",
        errors=(400, 404),
    ),
    RouteInfo(
        name="tune_model",
        plane="model",
        method="POST",
        path="/tune_model",
        summary="Find out by a sweep how a loaded model runs fastest here, keep that, and have the model run that way.",
        request=tuning.TuneModelRequest,
        answer=tuning.ModelTuningAnswer,
        scope="models",
        errors=(400, 404, 409, 413, 503),
    ),
    RouteInfo(
        name="reset_tuning",
        plane="model",
        method="POST",
        path="/reset_tuning",
        summary="Forget how a model was tuned here, and have it run by default.",
        request=types.ModelRequest,
        answer=types.MessageAnswer,
        scope="models",
        errors=(400, 404, 409, 413, 503),
    ),
    RouteInfo(
        name="model_tuning",
        plane="model",
        method="GET",
        path="/model_tuning",
        summary="Tell how a model's graphs are executed here, and what its tuning measured.",
        answer=tuning.ModelTuningAnswer,
        query=_MODEL_QUERY,
        scope="models",
        errors=(400, 404),
    ),
    _load(
        "load_sentence_transformer_model",
        "/load_sentence_transformer_model",
        "As /load_model with library sentence_transformers.",
        types.NamedModelRequest,
        first=True,
    ),
    _load(
        "load_clip_model",
        "/load_clip_model",
        "As /load_model with library open_clip.",
        types.NamedModelRequest,
        first=True,
    ),
    _load(
        "load_timm_model",
        "/load_timm_model",
        "As /load_model with library timm.",
        types.NamedModelRequest,
        first=True,
    ),
)


def routes_of(plane: Plane) -> list[RouteInfo]:
    """Return the routes that a plane serves."""
    return [route for route in ROUTES if route.plane in (None, plane)]
