"""What every route has in common: key, limit, request id, errors, telemetry."""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from ingrain.api.routes import RouteInfo
from ingrain.errors import IngrainError, QueueFullError
from ingrain.server.errors import error_response
from ingrain.server.http.message import Request, Response
from ingrain.server.services import Services

Handler = Callable[[Any, Request], Awaitable[Response]]
"""Answers a request with the services of its plane; ``build_app`` sees to it that they are that plane's."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_CLIENT_CLOSED_REQUEST = 499
_PROCESS = uuid.uuid4().hex[:20]
_numbers = itertools.count(1)

log = logging.getLogger("ingrain.server")
access_log = logging.getLogger("ingrain.access")


class Endpoint:
    """A route and what answers it; the handlers themselves have no ``try``."""

    def __init__(self, route: RouteInfo, handler: Handler, services: Services) -> None:
        self.route = route
        self.handler = handler
        self.services = services

    def begin(self, request: Request) -> RouteExchange:
        """Let a request in, or say in its exchange why not."""
        exchange = RouteExchange(self, request)
        try:
            self.services.keys.check(self.route.scope, request.headers.get(b"authorization"))
            self._refuse_when_full()
        except IngrainError as error:
            exchange.refusal = exchange.refuse(error)
        return exchange

    def _refuse_when_full(self) -> None:
        limit = self.services.settings.max_requests
        if self.route.limited and self.services.load.requests > limit:
            raise QueueFullError(
                f"The server is answering {limit} requests already (INGRAIN_MAX_REQUESTS). Try again later.",
                retry_after_s=1.0,
                facts={"limit": limit},
            )


class RouteExchange:
    """One request of a route, counted from its headers to its answer.

    Attributes:
        refusal: The answer, where the request was not let in.
    """

    __slots__ = ("_endpoint", "_has_ended", "_request", "_request_id", "_started", "refusal")

    def __init__(self, endpoint: Endpoint, request: Request) -> None:
        self.refusal: Response | None = None
        self._has_ended = False
        self._endpoint = endpoint
        self._request = request
        self._request_id = request_id_of(request)
        self._started = time.perf_counter()
        load = endpoint.services.load
        load.in_progress += 1
        load.requests += endpoint.route.limited

    async def answer(self) -> Response:
        """Answer the request, whatever happens."""
        endpoint = self._endpoint
        try:
            if endpoint.route.limited:
                response = await endpoint.handler(endpoint.services, self._request)
            else:
                # What changes the server's state is not left half done because the caller went away.
                response = await asyncio.shield(_finish(endpoint.handler(endpoint.services, self._request)))
        except IngrainError as error:
            return self.refuse(error)
        except asyncio.CancelledError:
            self.abandon()
            raise
        except Exception:  # whatever broke, the caller gets a clean answer and the log gets the trace
            log.exception("Request %s to %s failed", self._request_id, endpoint.route.path)
            return self.refuse(IngrainError("The server failed on this request."))
        response.headers["x-request-id"] = self._request_id
        self._end(response.status)
        return response

    def refuse(self, error: IngrainError) -> Response:
        """Answer with an error."""
        response = error_response(error, self._request_id, self._endpoint.route.path)
        self._end(response.status)
        return response

    def abandon(self) -> None:
        """Forget the request."""
        self._end(_CLIENT_CLOSED_REQUEST)

    def _end(self, status: int) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        endpoint = self._endpoint
        route, load = endpoint.route, endpoint.services.load
        load.in_progress -= 1
        load.requests -= route.limited
        seconds = time.perf_counter() - self._started
        endpoint.services.telemetry.observe(route.path, status, seconds)
        if access_log.isEnabledFor(logging.DEBUG):
            access_log.debug("%s %s %d %.1f ms %s", route.method, route.path, status, 1e3 * seconds, self._request_id)


_unfinished: set[asyncio.Future[Response]] = set()


def _finish(work: Awaitable[Response]) -> asyncio.Future[Response]:
    """Start work that goes on when nobody waits for it; the loop itself would forget it."""
    task = asyncio.ensure_future(work)
    _unfinished.add(task)
    task.add_done_callback(_finished)
    return task


def _finished(task: asyncio.Future[Response]) -> None:
    _unfinished.discard(task)
    if not task.cancelled():
        task.exception()  # seen; whoever waited for it has answered with it


def request_id_of(request: Request) -> str:
    """Return the caller's ``X-Request-Id`` where it is a plain word, else a new one."""
    if b"x-request-id" in request.headers:
        given = request.header("x-request-id")
        if _REQUEST_ID.fullmatch(given):
            return given
    return f"{_PROCESS}{next(_numbers):012x}"
