"""The types with which a dialect declares its routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import msgspec

from ingrain.errors import IngrainError
from ingrain.pipeline.task import Task
from ingrain.server.http.message import Request, Response
from ingrain.vocabulary import Plane, Scope

R = TypeVar("R")


class Work(msgspec.Struct, Generic[R], frozen=True):
    """A handler's result for a request that is one pipeline task; it saves the coroutine.

    Attributes:
        task: The pipeline task.
        respond: Makes the response from the task's result.
    """

    task: Task[R]
    respond: Callable[[R], Response]


Handler = Callable[[Any, Request], Work[Any] | Awaitable[Response]]
"""Takes the services of its plane and a request; returns a coroutine of the response, or ``Work``.

Handlers and their coroutines may raise IngrainError; the endpoint makes the error response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A query parameter."""

    name: str
    description: str
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One route.

    Attributes:
        name: Operation id in OpenAPI.
        plane: Plane that serves the route.
        method: HTTP method.
        path: Path; may hold one ``{name}``, which matches any part of a path, slashes included; the handler finds that
            part in ``Request.variable``.
        handler: Handles the requests.
        summary: Summary for OpenAPI, one sentence.
        request: Type of the JSON request body; None if the route takes no body.
        answer: Type of the JSON response body; None if the response is not JSON.
        notes: Further description of the responses for OpenAPI.
        query: Query parameters.
        scope: Scope that an API key needs; None for routes that need no key.
        deprecated: True for routes for older clients.
        limited: True if requests count against INGRAIN_MAX_REQUESTS.
        errors: Error statuses besides 401, 403 and 500.
        media: Media types of the response besides JSON.
        takes_images: True if the body may hold images, so that a larger limit holds for it.
        takes_forms: True if the body may be multipart/form-data, which ``read_image_body`` reads.
        takes_no_body: True if a request may also come without a body.
        json_length: Header, in lower case, with the number of bytes of JSON at the start of a body in which other bytes
            follow it; the handler decodes such a body itself. "" if there is none.
        example: Example of the body for OpenAPI; None for the one in ``examples.py``.
        told_by: Fields of the body, or names of headers in lower case with a hyphen; a request for this route has one
            of them. Needed if another dialect has a route with the same method and path; a request without any of them
            is for the dialect that comes first in the table.
    """

    name: str
    plane: Plane
    method: Literal["GET", "POST", "DELETE"]
    path: str
    handler: Handler
    summary: str
    request: type[msgspec.Struct] | None = None
    answer: type | None = None
    notes: str = ""
    query: tuple[Parameter, ...] = ()
    scope: Scope | None = None
    deprecated: bool = False
    limited: bool = False
    errors: tuple[int, ...] = ()
    media: tuple[str, ...] = ()
    takes_images: bool = False
    takes_forms: bool = False
    takes_no_body: bool = False
    json_length: str = ""
    example: Mapping[str, object] | None = None
    told_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """An API that clients speak.

    Attributes:
        name: Name in the documentation.
        routes: Routes of the dialect.
        error_body: Makes the body of an error response from the error, its HTTP status and the request id.
        error_type: Type of that body, for OpenAPI.
        prefix: Path prefix; a request that no route matches gets this dialect's error if its path starts with the
            prefix. "" for no prefix.
        status: Returns the HTTP status of an error in this dialect, from the error and its usual status.
        mounts: Paths under which all routes of the dialect are served; the first one is in the OpenAPI document.
    """

    name: str
    routes: Sequence[Route]
    error_body: Callable[[IngrainError, int, str], Mapping[str, object]]
    error_type: type[msgspec.Struct]
    prefix: str = ""
    status: Callable[[IngrainError, int], int] = lambda _, status: status
    mounts: tuple[str, ...] = ("",)

    @property
    def key(self) -> str:
        """Name in settings."""
        return self.name.lower().replace(" ", "-")


def inference_route(name: str, handler: Handler, summary: str, request: type, answer: type, **fields: Any) -> Route:
    """Return an inference route: ``POST`` on the inference plane; the path is ``/name`` by default."""
    return Route(
        name=name,
        plane="inference",
        method="POST",
        path=fields.pop("path", f"/{name}"),
        handler=handler,
        summary=summary,
        request=request,
        answer=answer,
        scope="infer",
        limited=True,
        errors=fields.pop("errors", (400, 404, 413, 429, 503, 504)),
        **fields,
    )
