"""The two planes as applications, built from the table of routes."""

from __future__ import annotations

from typing import Literal, overload

from ingrain.api.routes import Plane, routes_of
from ingrain.errors import IngrainError, MethodNotAllowedError, RouteNotFoundError
from ingrain.server.dialects import first_generation
from ingrain.server.dialects.native import inference, models
from ingrain.server.dialects.native import tuning as tune
from ingrain.server.dialects.openai import routes as openai
from ingrain.server.http.application import Exchange
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.docs_page import docs_page
from ingrain.server.plane.endpoint import Endpoint, Handler, request_id_of
from ingrain.server.plane.errors import error_response
from ingrain.server.plane.openapi import openapi_json
from ingrain.server.plane.services import ModelServices, Services
from ingrain.server.plane.text_work import TextReader

_INFERENCE: dict[str, Handler | TextReader] = {
    "health": inference.health,
    "ready": inference.ready,
    "embed_text": TextReader(inference.read_texts),
    "embed_image": inference.embed_image,
    "embed": inference.embed,
    "classify_image": inference.classify_image,
    "classify_image_zero_shot": inference.classify_image_zero_shot,
    "openai_embeddings": TextReader(openai.read_texts),
    "openai_models": openai.models,
    "openai_model": openai.model,
    "metrics": inference.metrics,
}
_MODEL: dict[str, Handler | TextReader] = {
    "health": models.health,
    "ready": inference.ready,
    "load_model": models.load_model,
    "download_custom_model": models.download_custom_model,
    "unload_model": models.unload_model,
    "delete_model": models.delete_model,
    "loaded_models": models.loaded_models,
    "repository_models": models.repository_models,
    "model_embedding_size": models.model_embedding_size,
    "model_classification_labels": models.model_classification_labels,
    "model_image_geometry": models.model_image_geometry,
    "tune_model": tune.tune_model,
    "reset_tuning": tune.reset_tuning,
    "model_tuning": tune.model_tuning,
}
HANDLERS: dict[Plane, dict[str, Handler | TextReader]] = {
    "inference": _INFERENCE | first_generation.HANDLERS,
    "model": _MODEL | first_generation.HANDLERS,
}
"""What answers each route of the table, by plane and name."""


class PlaneApplication:
    """Finds what answers a request."""

    def __init__(self, endpoints: dict[tuple[str, str], Endpoint], pages: dict[str, Response]) -> None:
        self._endpoints = endpoints
        self._open_ended = [(path.partition("{")[0], path) for _, path in endpoints if path.endswith("}")]
        self._pages = pages
        self._methods: dict[str, set[str]] = {path: {"GET"} for path in pages}
        for method, path in endpoints:
            self._methods.setdefault(path, set()).add(method)

    def begin(self, request: Request) -> Exchange | Response:
        """Let a request in, or answer it at once."""
        method = "GET" if request.method == "HEAD" else request.method
        endpoint = self._endpoints.get((method, request.path)) or self._endpoints.get((method, self._path(request)))
        if endpoint is not None:
            exchange = endpoint.begin(request)
            return exchange.refusal or exchange
        if method == "GET" and request.path in self._pages:
            return self._pages[request.path]
        methods = self._methods.get(self._path(request))
        if methods is None:
            return _refuse(RouteNotFoundError("There is no such route. GET /docs lists the routes."), request)
        error = MethodNotAllowedError(f"This route does not take {request.method}. GET /docs lists the routes.")
        response = _refuse(error, request)
        response.headers["allow"] = ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))
        return response

    def _path(self, request: Request) -> str:
        """Return the path as the table of routes has it."""
        for start, path in self._open_ended:
            if request.path.startswith(start) and request.path != start:
                return path
        return request.path

    def refuse(self, error: IngrainError) -> Response:
        """Answer what is no request."""
        return _refuse(error, Request("", ""))


@overload
def build_app(plane: Literal["inference"], services: Services) -> PlaneApplication: ...
@overload
def build_app(plane: Literal["model"], services: ModelServices) -> PlaneApplication: ...
def build_app(plane: Plane, services: Services) -> PlaneApplication:
    """Build the application of one plane."""
    endpoints: dict[tuple[str, str], Endpoint] = {
        (route.method, route.path): Endpoint(route, services, HANDLERS[plane][route.name]) for route in routes_of(plane)
    }
    pages = {
        "/openapi.json": Response(openapi_json()),
        "/docs": Response(docs_page(), media_type="text/html; charset=utf-8"),
    }
    return PlaneApplication(endpoints, pages)


def _refuse(error: IngrainError, request: Request) -> Response:
    return error_response(error, request_id_of(request), request.path)
