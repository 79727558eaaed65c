"""KServe's dialect: the routes of the Open Inference Protocol."""

from __future__ import annotations

from ingrain.server.dialects.kserve import models, types
from ingrain.server.dialects.kserve.errors import error_body
from ingrain.server.dialects.kserve.infer import JSON_LENGTH, infer_over_http
from ingrain.server.plane.route import Dialect, Handler, Route, inference_route
from ingrain.vocabulary import Scope

_MODEL = "/v2/models/{model}"


def _get(
    name: str, path: str, handler: Handler, summary: str, answer: type, scope: Scope | None, *errors: int
) -> Route:
    return Route(
        name=name,
        plane="inference",
        method="GET",
        path=path,
        handler=handler,
        summary=summary,
        answer=answer,
        scope=scope,
        errors=errors,
    )


_ROUTES = (
    _get("kserve_server", "/v2", models.server, "Describe the server.", types.KServeServerAnswer, "infer"),
    _get("kserve_live", "/v2/health/live", models.live, "Answer while the process runs.", types.KServeLiveAnswer, None),
    _get(
        "kserve_ready",
        "/v2/health/ready",
        models.ready,
        "Answer 200 if the server is ready.",
        types.KServeReadyAnswer,
        None,
        503,
    ),
    _get("kserve_models", "/v2/models", models.models, "List the ready models.", types.KServeModelsAnswer, "infer"),
    _get("kserve_model", _MODEL, models.model, "Describe a model.", types.KServeModelAnswer, "infer", 400, 404, 503),
    _get(
        "kserve_model_ready",
        f"{_MODEL}/ready",
        models.model_ready,
        "Answer 200 if a model is ready.",
        types.KServeModelReadyAnswer,
        "infer",
        400,
        404,
        503,
    ),
    inference_route(
        "kserve_infer",
        infer_over_http,
        "Run a model on texts or images.",
        types.KServeInferRequest,
        types.KServeInferAnswer,
        path=f"{_MODEL}/infer",
        takes_images=True,
        json_length=JSON_LENGTH,
        media=("application/octet-stream",),
        notes="`/versions/1` may stand behind the model. With Inference-Header-Content-Length the body's JSON has so "
        "many bytes, and binary tensors follow it, as in a response in application/octet-stream. X-Truncated-Texts is "
        "the number of truncated texts, if there are any.",
        example={
            "inputs": [
                {"name": "text", "shape": [2], "datatype": "BYTES", "data": ["The river runs to the sea.", "A stone."]}
            ],
            "parameters": {"normalize": True},
        },
    ),
    Route(
        name="kserve_index",
        plane="inference",
        method="POST",
        path="/v2/repository/index",
        handler=models.index,
        takes_no_body=True,
        summary="List the models with their states.",
        request=types.KServeIndexRequest,
        answer=types.KServeIndexAnswer,
        scope="infer",
        errors=(400,),
        example={"ready": True},
    ),
)

KSERVE = Dialect(
    name="KServe",
    routes=_ROUTES,
    error_body=error_body,
    error_type=types.KServeErrorAnswer,
    prefix="/v2/models/",
)
