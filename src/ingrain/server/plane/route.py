"""Routes and the dialects that they belong to: how a dialect tells the server what it serves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import msgspec

from ingrain.errors import IngrainError
from ingrain.pipeline.task import Task
from ingrain.server.http.message import Request, Response
from ingrain.vocabulary import Plane

Scope = Literal["infer", "models", "metrics"]
R = TypeVar("R")


class Work(msgspec.Struct, Generic[R], frozen=True):
    """What a handler returns where its request needs one task and nothing else.

    Attributes:
        task: The task.
        respond: Makes the answer of its result.
    """

    task: Task[R]
    respond: Callable[[R], Response]


Handler = Callable[[Any, Request], Work[Any] | Awaitable[Response]]
"""Answers a request with the services of its plane: returns a coroutine, or a task and what answers with its result.

It may raise an IngrainError, as may the coroutine; it needs no ``try`` of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter in the query string."""

    name: str
    description: str
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One route.

    Attributes:
        name: Its name in OpenAPI.
        plane: The plane that serves it.
        method: HTTP method.
        path: Path; its end may be a ``{name}`` that stands for all that follows, slashes too.
        handler: What answers its requests.
        summary: One sentence.
        request: Type of the JSON body, if it takes one.
        answer: Type of the JSON answer, if it is JSON.
        notes: What else is to be said of its answers.
        query: Parameters in the query string.
        scope: Scope that a key needs; None for routes that are always open.
        deprecated: True for routes that are kept for older clients.
        limited: True where requests count against INGRAIN_MAX_REQUESTS.
        errors: Statuses that it may answer besides 401, 403 and 500.
        media: Media types of its answer besides JSON.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """An API that clients speak.

    Attributes:
        name: What it is called in the documentation.
        routes: Its routes.
        error_body: Makes the body of an error's answer, from the error, its HTTP status and the request's id.
        error_type: Type of that body, for OpenAPI.
        prefix: What the paths begin with whose errors are this dialect's where no route has the path; "" for none.
    """

    name: str
    routes: Sequence[Route]
    error_body: Callable[[IngrainError, int, str], Mapping[str, object]]
    error_type: type[msgspec.Struct]
    prefix: str = ""


def inference_route(name: str, handler: Handler, summary: str, request: type, answer: type, **fields: Any) -> Route:
    """Return a route that computes: ``POST`` on the inference plane, at ``/name`` where no other path is given."""
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
        errors=(400, 404, 413, 429, 503, 504),
        **fields,
    )
