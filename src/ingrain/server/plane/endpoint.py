"""What every route has in common: key, limit, request id, errors, telemetry."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from ingrain.errors import IngrainError, QueueFullError
from ingrain.server.http.application import Started
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.errors import error_response
from ingrain.server.plane.route import Dialect, Route, Work
from ingrain.server.plane.services import Services

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_CLIENT_CLOSED_REQUEST = 499
_PROCESS = uuid.uuid4().hex[:20]
_numbers = itertools.count(1)

log = logging.getLogger("ingrain.server")
access_log = logging.getLogger("ingrain.access")


class Endpoint:
    """A route of a dialect, with the services that it needs.

    Args:
        route: The route.
        dialect: The words for its errors.
        services: Of the plane.
    """

    def __init__(self, route: Route, dialect: Dialect, services: Services) -> None:
        self.route = route
        self.dialect = dialect
        self.services = services
        self._most_requests = services.limits.max_requests

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
        self._work: Work[Any] | Awaitable[Response] | None = None
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
        """Begin to answer the request: a pipeline's task is started at once, a coroutine needs a task of asyncio."""
        services = self._endpoint.services
        self._deliver = deliver
        try:
            work = self._work = self._endpoint.route.handler(services, self._request)
            if not isinstance(work, Work):
                return Started.NEEDS_A_TASK
            self._cancel = services.pipeline.start(work.task, self)
        except Exception as error:  # as in ``answer``
            return self._refuse_for(error)
        return Started.WILL_BE_DELIVERED

    def done(self, result: Any) -> None:
        """Deliver the answer of a task that was started."""
        if self._has_ended:
            return
        assert isinstance(self._work, Work)
        try:
            response = self._finish(self._work.respond(result))
        except Exception as error:  # as in ``answer``
            response = self._refuse_for(error)
        self._deliver(response)

    def failed(self, error: Exception) -> None:
        """Deliver the error of a task that was started."""
        if not self._has_ended:
            self._deliver(self._refuse_for(error))

    async def answer(self) -> Response:
        """Answer the request, whatever happens."""
        answering = self._work
        assert answering is not None
        assert not isinstance(answering, Work)
        try:
            # What changes the server's state is not left half done because the caller went away.
            response = await (answering if self._endpoint.route.limited else asyncio.shield(_finish(answering)))
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
        response = error_response(error, self._request_id, self._endpoint.dialect)
        self._end(response.status)
        return response

    def abandon(self) -> None:
        """Forget the request, and what is computed for it."""
        if self._cancel is not None:
            self._cancel()
        elif inspect.iscoroutine(self._work) and inspect.getcoroutinestate(self._work) == inspect.CORO_CREATED:
            self._work.close()  # nobody has begun to await it
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
