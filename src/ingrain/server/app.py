"""The two planes as ASGI applications, built from the table of routes."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

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


class _Plane:
    """Answers the routes of the table by a look into a dictionary, and leaves the rest to Starlette.

    Starlette's own way to a route costs a quarter of the front end's time on a request of one short text.
    """

    def __init__(self, endpoints: dict[tuple[str, str], Endpoint], rest: Starlette) -> None:
        self._endpoints = endpoints
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        await (endpoint or self._rest)(scope, receive, send)


def build_app(plane: Plane, services: Services) -> ASGIApp:
    """Build the ASGI application of one plane."""
    openapi = openapi_json()
    page = docs_page()

    async def openapi_route(request: Request) -> Response:
        del request
        return Response(openapi, media_type="application/json")

    async def docs_route(request: Request) -> Response:
        del request
        return Response(page, media_type="text/html; charset=utf-8")

    endpoints: dict[tuple[str, str], Endpoint] = {
        (route.method, route.path): Endpoint(route, HANDLERS[plane][route.name], services) for route in routes_of(plane)
    }
    routes: list[BaseRoute] = [Route(path, one, methods=[method]) for (method, path), one in endpoints.items()]
    routes += [Route("/openapi.json", openapi_route), Route("/docs", docs_route)]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _routing_error})
    # A redirect would be built from the caller's Host header.
    app.router.redirect_slashes = False
    return _Plane(endpoints, app)


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
