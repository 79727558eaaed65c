"""One plane as an application: finds the route of each request."""

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
    """Finds what answers a request.

    Args:
        plane: Which one.
        services: What handlers work with; those of the model plane need ``ModelServices``.
        dialects: The APIs to serve; the first one answers what no other one does.
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
            "/openapi.json": Response(openapi_json(dialects)),
            "/docs": Response(docs_page(dialects), media_type="text/html; charset=utf-8"),
        }
        self._methods: dict[str, set[str]] = {path: {"GET"} for path in self._pages}
        for method, path in self._endpoints:
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
            return self._refuse(RouteNotFoundError("There is no such route. GET /docs lists the routes."), request)
        error = MethodNotAllowedError(f"This route does not take {request.method}. GET /docs lists the routes.")
        response = self._refuse(error, request)
        response.headers["allow"] = ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))
        return response

    def _path(self, request: Request) -> str:
        """Return the path as the table of routes has it."""
        for start, path in self._open_ended:
            if request.path.startswith(start) and request.path != start:
                return path
        return request.path

    def refuse(self, error: IngrainError) -> Response:
        """Answer bytes that are no request."""
        return self._refuse(error, Request("", ""))

    def _refuse(self, error: IngrainError, request: Request) -> Response:
        """Answer what belongs to no route, in the words of the dialect whose prefix the path has."""
        first, *others = self._dialects
        dialect = next((d for d in others if d.prefix and request.path.startswith(d.prefix)), first)
        return error_response(error, request_id_of(request), dialect)
