"""The application of one plane: matches each request to a route."""

from __future__ import annotations

from collections.abc import Sequence

from ingrain.errors import IngrainError, MethodNotAllowedError, RouteNotFoundError
from ingrain.server.http.application import Exchange
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.docs_page import docs_page
from ingrain.server.plane.endpoint import Endpoint, request_id_of
from ingrain.server.plane.errors import error_response
from ingrain.server.plane.openapi import openapi_json
from ingrain.server.plane.route import Dialect
from ingrain.server.plane.services import Services
from ingrain.vocabulary import Plane


class PlaneApplication:
    """Matches requests to the endpoints of one plane.

    Args:
        plane: The plane to serve.
        services: Services for the handlers; the model plane needs ``ModelServices``.
        dialects: The APIs to serve. A request that no route matches gets the first dialect's error, unless its path has
            the prefix of another dialect.
    """

    def __init__(self, plane: Plane, services: Services, dialects: Sequence[Dialect]) -> None:
        self._dialects = dialects
        self._endpoints: dict[tuple[str, str], Endpoint] = {
            (route.method, route.path): Endpoint(route, dialect, services)
            for dialect in dialects
            for route in dialect.routes
            if route.plane == plane
        }
        self._open_ended = [(path.partition("{")[0], path) for _, path in self._endpoints if path.endswith("}")]
        self._pages = {
            "/openapi.json": Response(openapi_json(dialects, plane)),
            "/docs": Response(docs_page(dialects, plane), media_type="text/html; charset=utf-8"),
        }
        self._methods: dict[str, set[str]] = {path: {"GET"} for path in self._pages}
        for method, path in self._endpoints:
            self._methods.setdefault(path, set()).add(method)

    def begin(self, request: Request) -> Exchange | Response:
        """Return the exchange of an accepted request, or the response to any other."""
        method = "GET" if request.method == "HEAD" else request.method
        endpoint = self._endpoints.get((method, request.path)) or self._endpoints.get((method, self._path(request)))
        if endpoint is not None:
            exchange = endpoint.begin(request)
            return exchange.refusal or exchange
        if method == "GET" and request.path in self._pages:
            return self._pages[request.path]
        methods = self._methods.get(self._path(request))
        if methods is None:
            return self._refuse(RouteNotFoundError("There is no such route. GET /docs lists the routes."), request)
        error = MethodNotAllowedError(f"This route does not take {request.method}. GET /docs lists the routes.")
        response = self._refuse(error, request)
        response.headers["allow"] = ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))
        return response

    def _path(self, request: Request) -> str:
        """Return the path of the matching route: an open-ended route's template, else the request's own path."""
        for start, path in self._open_ended:
            if request.path.startswith(start) and request.path != start:
                return path
        return request.path

    def refuse(self, error: IngrainError) -> Response:
        """Return the error response to bytes that could not be parsed as a request."""
        return self._refuse(error, Request("", ""))

    def _refuse(self, error: IngrainError, request: Request) -> Response:
        """Answer a request that no route matches; the path's prefix chooses the dialect of the error."""
        first, *others = self._dialects
        dialect = next((d for d in others if d.prefix and request.path.startswith(d.prefix)), first)
        return error_response(error, request_id_of(request), dialect)
