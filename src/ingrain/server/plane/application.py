"""The application of one plane: matches each request to a route."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache

from ingrain.api import types
from ingrain.errors import IngrainError, MethodNotAllowedError, RouteNotFoundError
from ingrain.server.console.pages import CONSOLE_API
from ingrain.server.docs.pages import docs_pages
from ingrain.server.http.application import Exchange
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.answers import struct_answer
from ingrain.server.plane.auth import credentials
from ingrain.server.plane.endpoint import Endpoint, request_id_of
from ingrain.server.plane.errors import error_response
from ingrain.server.plane.openapi import PLANES, openapi_json
from ingrain.server.plane.route import Dialect, Route
from ingrain.server.plane.services import Services
from ingrain.vocabulary import Plane

_KNOWN_PATHS = 128
_LONGEST_LIKENED = 100  # characters of a path; finding one like it takes longer with its length


class PlaneApplication:
    """Matches requests to the endpoints of one plane.

    Args:
        plane: The plane to serve.
        services: Services for the handlers; the model plane needs ``ModelServices``.
        dialects: The APIs to serve. A request that no route matches gets the first dialect's error, unless its path has
            the prefix of another dialect.
        console: Files of the console by path; they need no key. With them, the first dialect's routes of the inference
            plane are served under ``CONSOLE_API``.
    """

    def __init__(
        self,
        plane: Plane,
        services: Services,
        dialects: Sequence[Dialect],
        console: Mapping[str, Response] | None = None,
    ) -> None:
        self._dialects = dialects
        self._services = services
        self._console = console or {}
        self._endpoints = _endpoints(plane, services, dialects)
        if console:
            inference = _endpoints("inference", services, dialects[:1])
            self._endpoints |= {(method, CONSOLE_API + path): one for (method, path), one in inference.items()}
        self._elsewhere: dict[tuple[str, str], Plane] = {
            (route.method, mount + route.path): route.plane
            for dialect in dialects
            for mount in dialect.mounts
            for route in dialect.routes
        }
        # Templates by the first segment of their paths. Of several that match a path, the longest one is meant.
        self._templates: dict[str, list[tuple[str, str, str]]] = {}
        for path in dict.fromkeys(path for _, path in self._endpoints):
            start, brace, rest = path.partition("{")
            if brace:
                self._templates.setdefault(_first_segment(start), []).append((start, rest.partition("}")[2], path))
        for templates in self._templates.values():
            templates.sort(key=lambda template: -len(template[0]) - len(template[1]))
        self._match = lru_cache(maxsize=_KNOWN_PATHS)(self._match_template)
        self._see_docs = " GET /docs lists the routes." if services.shows_docs else ""
        welcome = types.MessageAnswer(message=f"This is the {plane} plane of Ingrain.{self._see_docs}")
        self._pages: dict[str, Callable[[], Response]] = {"/": lambda: struct_answer(welcome)}
        self._docs: Mapping[str, Callable[[], Response]] = {}
        if services.shows_docs:
            # The document is written when it is first asked for: it would double the time of a start.
            self._pages["/openapi.json"] = cache(lambda: Response(openapi_json(dialects, plane)))
            self._docs = docs_pages()
        self._methods: dict[str, set[str]] = {path: {"GET"} for path in (*self._pages, *self._docs, *self._console)}
        for method, path in self._endpoints:
            self._methods.setdefault(path, set()).add(method)
        self._speakers = {path: endpoint.any_dialect for (_, path), endpoint in self._endpoints.items()}

    def admit(self, request: Request) -> Response | Mapping[str, str]:
        """Return the error response to a request that a browser may not send, else headers to add to the response."""
        endpoint = self._endpoint(request)
        takes_forms = endpoint is not None and endpoint.route.takes_forms
        try:
            return self._services.sites.check(request, takes_forms=takes_forms)
        except IngrainError as error:
            return self._refuse(error, request)

    def begin(self, request: Request) -> Exchange | Response:
        """Return the exchange of an accepted request, or the response to any other."""
        endpoint = self._endpoints.get((request.method, request.path)) or self._endpoint(request)
        if endpoint is not None:
            exchange = endpoint.begin(request)
            return exchange.refusal or exchange
        if request.method in ("GET", "HEAD"):
            if request.path in self._console:
                return self._console[request.path]
            if request.path in self._docs:
                return self._docs[request.path]()
            if request.path in self._pages:
                return self._page(request)
        path = self._path(request)
        methods = self._methods.get(path)
        if methods is None and request.path != "*":
            return self._refuse(self._not_found(request), request)
        methods = {"OPTIONS", *(methods or ("GET", "POST", "DELETE"))}
        if "GET" in methods:
            methods.add("HEAD")
        if request.method == "OPTIONS":
            response = Response(b"", media_type="text/plain")
        else:
            taken = " and ".join(sorted(methods - {"HEAD", "OPTIONS"}))
            told = f"This route does not take {request.method}; it takes {taken}.{self._see_docs}"
            error = MethodNotAllowedError(told)
            response = self._refuse(error, request, self._speakers.get(path))
        response.headers["allow"] = ", ".join(sorted(methods))
        return response

    def _not_found(self, request: Request) -> RouteNotFoundError:
        other = self._elsewhere.get((request.method, request.path))
        where = f"This is a route of the {PLANES[other]}." if other else "There is no such route."
        if other is None and len(request.path) <= _LONGEST_LIKENED:
            near = difflib.get_close_matches(request.path, self._methods, n=1, cutoff=0.8)
            where += "".join(f" Did you mean {path}?" for path in near)
        return RouteNotFoundError(f"{where}{self._see_docs}")

    def _endpoint(self, request: Request) -> Endpoint | None:
        """Return the endpoint of the matching route. Slashes at the end of the request's path are removed."""
        method = "GET" if request.method == "HEAD" else request.method
        endpoint = self._endpoints.get((method, request.path))
        if endpoint is not None:
            return endpoint
        if request.path.endswith("/"):
            request.path = request.path.rstrip("/") or "/"
        return self._endpoints.get((method, self._path(request)))

    def _page(self, request: Request) -> Response:
        try:
            self._services.keys.check_any(credentials(request.headers))
        except IngrainError as error:
            return self._refuse(error, request)
        return self._pages[request.path]()

    def _path(self, request: Request) -> str:
        """Return the path of the matching route: its template, else the request's own path."""
        path, request.variable = self._match(request.path)
        return path

    def _match_template(self, given: str) -> tuple[str, str]:
        """Return the template of the matching route and its variable part, else the path itself."""
        for start, end, path in self._templates.get(_first_segment(given), ()):
            if given.startswith(start) and given.endswith(end) and len(given) > len(start) + len(end):
                return path, given[len(start) : len(given) - len(end)]
        return given, ""

    def refuse(self, error: IngrainError) -> Response:
        """Return the error response to bytes that could not be parsed as a request."""
        return self._refuse(error, Request("", ""))

    def _refuse(self, error: IngrainError, request: Request, dialect: Dialect | None = None) -> Response:
        """Answer a request that no route takes; the path's longest prefix chooses the dialect of the error if None."""
        first, *others = self._dialects
        if dialect is None:
            spoken = (d for d in others if d.prefix and request.path.startswith(d.prefix))
            dialect = max(spoken, key=lambda d: len(d.prefix), default=first)
        return error_response(error, request_id_of(request), dialect)


def _first_segment(path: str) -> str:
    return path[1:].partition("/")[0]


def _endpoints(plane: Plane, services: Services, dialects: Sequence[Dialect]) -> dict[tuple[str, str], Endpoint]:
    """Return the endpoints by method and path; routes with the same method and path have one endpoint."""
    routes: dict[tuple[str, str], list[tuple[Route, Dialect]]] = {}
    for dialect in dialects:
        for mount in dialect.mounts:
            for route in dialect.routes:
                if route.plane == plane:
                    routes.setdefault((route.method, mount + route.path), []).append((route, dialect))
    return {
        key: Endpoint(*first, services, [Endpoint(*other, services) for other in others])
        for key, (first, *others) in routes.items()
    }
