"""The two planes as ASGI applications, built from the table of routes."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ingrain.api.routes import Plane, routes_of
from ingrain.errors import InvalidRequestError, MethodNotAllowedError, RequestError, RouteNotFoundError
from ingrain.server import first_generation, inference, models
from ingrain.server.docs_page import docs_page
from ingrain.server.endpoint import Endpoint, Handler, request_id_of
from ingrain.server.errors import error_response
from ingrain.server.openapi import openapi_json
from ingrain.server.services import Services

_INFERENCE: dict[str, Handler] = {
    "health": inference.health,
    "ready": inference.ready,
    "embed_text": inference.embed_text,
    "embed_image": inference.embed_image,
    "embed": inference.embed,
    "classify_image": inference.classify_image,
    "classify_image_zero_shot": inference.classify_image_zero_shot,
    "metrics": inference.metrics,
}
_MODEL: dict[str, Handler] = {
    "health": models.health,
    "ready": inference.ready,
    "load_model": models.load_model,
    "unload_model": models.unload_model,
    "delete_model": models.delete_model,
    "loaded_models": models.loaded_models,
    "repository_models": models.repository_models,
    "model_embedding_size": models.model_embedding_size,
    "model_classification_labels": models.model_classification_labels,
}
HANDLERS: dict[Plane, dict[str, Handler]] = {
    "inference": _INFERENCE | first_generation.HANDLERS,
    "model": _MODEL | first_generation.HANDLERS,
}
"""What answers each route of the table, by plane and name."""


def build_app(plane: Plane, services: Services) -> Starlette:
    """Build the ASGI application of one plane."""
    openapi = openapi_json()
    page = docs_page()

    async def openapi_route(request: Request) -> Response:
        del request
        return Response(openapi, media_type="application/json")

    async def docs_route(request: Request) -> Response:
        del request
        return Response(page, media_type="text/html; charset=utf-8")

    routes: list[BaseRoute] = [
        Route(route.path, Endpoint(route, HANDLERS[plane][route.name], services), methods=[route.method])
        for route in routes_of(plane)
    ]
    routes += [Route("/openapi.json", openapi_route), Route("/docs", docs_route)]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _routing_error})
    # A redirect would be built from the caller's Host header.
    app.router.redirect_slashes = False
    return app


async def _routing_error(request: Request, error: Exception) -> Response:
    """Answer what Starlette itself refuses: unknown routes and wrong methods."""
    assert isinstance(error, HTTPException)
    problem: RequestError
    if error.status_code == 404:
        problem = RouteNotFoundError("There is no such route. GET /docs lists the routes.")
    elif error.status_code == 405:
        problem = MethodNotAllowedError(f"This route does not take {request.method}. GET /docs lists the routes.")
    else:
        problem = InvalidRequestError("The request cannot be understood.")
    request_id = request_id_of(request)
    response = error_response(problem, request_id)
    response.headers.update({"x-request-id": request_id, **(error.headers or {})})
    return response
