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
from ingrain.pipeline.requests import EmbeddedTexts
from ingrain.server.http.application import Started
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.errors import error_response
from ingrain.server.plane.services import Services
from ingrain.server.plane.text_work import OtherWork, TextReader, TextWork

Handler = Callable[[Any, Request], Awaitable[Response]]
"""Answers a request with the services of its plane; ``build_app`` sees to it that they are that plane's."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_CLIENT_CLOSED_REQUEST = 499
_PROCESS = uuid.uuid4().hex[:20]
_numbers = itertools.count(1)

log = logging.getLogger("ingrain.server")
access_log = logging.getLogger("ingrain.access")


class Endpoint:
    """A route and what answers it; handlers and readers have no ``try``.

    Args:
        route: From the table of routes.
        services: Of the plane.
        handler: What answers a request, or reads one for texts.
    """

    def __init__(self, route: RouteInfo, services: Services, handler: Handler | TextReader) -> None:
        self.route = route
        self.services = services
        self.handler = handler if not isinstance(handler, TextReader) else None
        self.read_texts = handler.read if isinstance(handler, TextReader) else None
        self._most_requests = services.settings.max_requests

    def begin(self, request: Request) -> RouteExchange:
        """Let a request in, or say in its exchange why not."""
        exchange = RouteExchange(self, request)
        try:
            self.services.keys.check(self.route.scope, request.headers.get(b"authorization"))
            if self.route.limited and self.services.load.requests > self._most_requests:
                raise _full(self._most_requests)
        except IngrainError as error:
            exchange.refusal = exchange.refuse(error)
        return exchange


class RouteExchange:
    """One request of a route, counted from its headers to its answer.

    Attributes:
        refusal: The answer, where the request was not let in.
    """

    __slots__ = (
        "_cancel",
        "_deliver",
        "_endpoint",
        "_has_ended",
        "_request",
        "_request_id",
        "_started",
        "_work",
        "refusal",
    )

    def __init__(self, endpoint: Endpoint, request: Request) -> None:
        self.refusal: Response | None = None
        self._has_ended = False
        self._work: TextWork | OtherWork | None = None
        self._cancel: Callable[[], None] | None = None
        self._deliver: Callable[[Response], None]
        self._endpoint = endpoint
        self._request = request
        self._request_id = request_id_of(request)
        self._started = time.perf_counter()
        load = endpoint.services.load
        load.in_progress += 1
        load.requests += endpoint.route.limited

    def start(self, deliver: Callable[[Response], None]) -> Response | Started:
        """Begin to answer the request: a few texts need no task."""
        endpoint = self._endpoint
        if endpoint.read_texts is None:
            return Started.NEEDS_A_TASK
        try:
            work = self._work = endpoint.read_texts(endpoint.services, self._request)
            if isinstance(work, TextWork):
                pipeline = endpoint.services.pipeline
                self._cancel = pipeline.embed_text_soon(work.name, work.texts, work.form, self)
        except Exception as error:  # as in ``answer``
            return self._refuse_for(error)
        if self._cancel is None:
            return Started.NEEDS_A_TASK
        self._deliver = deliver
        return Started.WILL_BE_DELIVERED

    def embedded(self, texts: EmbeddedTexts) -> None:
        """Deliver the answer to a request that was started."""
        if self._has_ended:
            return
        assert isinstance(self._work, TextWork)
        try:
            response = self._finish(self._work.respond(texts))
        except Exception as error:  # as in ``answer``
            response = self._refuse_for(error)
        self._deliver(response)

    def failed(self, error: Exception) -> None:
        """Deliver the error of a request that was started."""
        if not self._has_ended:
            self._deliver(self._refuse_for(error))

    async def answer(self) -> Response:
        """Answer the request, whatever happens."""
        endpoint, work = self._endpoint, self._work
        try:
            if isinstance(work, TextWork):
                pipeline = endpoint.services.pipeline
                response = work.respond(await pipeline.embed_text(work.name, work.texts, work.form))
            elif work is not None:
                response = await work()
            else:
                assert endpoint.handler is not None
                answering = endpoint.handler(endpoint.services, self._request)
                # What changes the server's state is not left half done because the caller went away.
                response = await (answering if endpoint.route.limited else asyncio.shield(_finish(answering)))
        except Exception as error:  # whatever broke, the caller gets a clean answer and the log gets the trace
            return self._refuse_for(error)
        except BaseException:  # cancelled, as a rule
            self.abandon()
            raise
        return self._finish(response)

    def _finish(self, response: Response) -> Response:
        response.headers["x-request-id"] = self._request_id
        self._end(response.status)
        return response

    def _refuse_for(self, error: Exception) -> Response:
        if isinstance(error, IngrainError):
            return self.refuse(error)
        log.error("Request %s to %s failed", self._request_id, self._endpoint.route.path, exc_info=error)
        return self.refuse(IngrainError("The server failed on this request."))

    def refuse(self, error: IngrainError) -> Response:
        """Answer with an error."""
        response = error_response(error, self._request_id, self._endpoint.route.path)
        self._end(response.status)
        return response

    def abandon(self) -> None:
        """Forget the request, and what is computed for it."""
        if self._cancel is not None:
            self._cancel()
        self._end(_CLIENT_CLOSED_REQUEST)

    def _end(self, status: int) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        self._cancel = None  # or the exchange and what waits for it would keep each other
        endpoint = self._endpoint
        route, load = endpoint.route, endpoint.services.load
        load.in_progress -= 1
        load.requests -= route.limited
        seconds = time.perf_counter() - self._started
        endpoint.services.telemetry.observe(route.path, status, seconds)
        if access_log.isEnabledFor(logging.DEBUG):
            access_log.debug("%s %s %d %.1f ms %s", route.method, route.path, status, 1e3 * seconds, self._request_id)


def _full(limit: int) -> QueueFullError:
    return QueueFullError(
        f"The server is answering {limit} requests already (INGRAIN_MAX_REQUESTS). Try again later.",
        retry_after_s=1.0,
        facts={"limit": limit},
    )


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
