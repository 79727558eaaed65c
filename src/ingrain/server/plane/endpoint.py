"""Request handling that all routes share: API keys, the request limit, request ids, errors and telemetry."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from ingrain.errors import IngrainError, QueueFullError
from ingrain.machine_faults import machine_fault
from ingrain.server.http.application import BodyLimit, Started
from ingrain.server.http.message import Request, Response, StreamedResponse
from ingrain.server.http.refusals import body_too_large
from ingrain.server.keys.named import NamedKey
from ingrain.server.plane.auth import credentials
from ingrain.server.plane.detach import detach
from ingrain.server.plane.errors import error_response
from ingrain.server.plane.permitted import permitted, with_names
from ingrain.server.plane.prepare import decode_in_a_thread, decompressed, join_body, needs_preparation
from ingrain.server.plane.route import Dialect, Route, Work
from ingrain.server.plane.services import Services
from ingrain.server.plane.shared_paths import RouteChoice, speaking_all

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_CLIENT_CLOSED_REQUEST = 499
_PROCESS = uuid.uuid4().hex[:20]
_numbers = itertools.count(1)

log = logging.getLogger("ingrain.server")
access_log = logging.getLogger("ingrain.access")


class Endpoint:
    """A route with its dialect and the services of its plane.

    Args:
        route: The route.
        dialect: Dialect in which errors are written.
        services: Services of the plane.
        others: Endpoints of other dialects with the same method and path, in the order of the dialects.

    Attributes:
        any_dialect: Dialect of errors of requests that cannot be told apart yet.
    """

    def __init__(self, route: Route, dialect: Dialect, services: Services, others: Sequence[Endpoint] = ()) -> None:
        self.route = route
        self.dialect = dialect
        self.services = services
        self.others = others
        self.any_dialect = speaking_all([dialect, *(other.dialect for other in others)])
        self._choice = RouteChoice([route, *(other.route for other in others)])
        self._max_requests = services.limits.max_requests
        self._own_limit = _body_limit(route, services)
        limits = [self._own_limit, *(other._own_limit for other in others)]
        self.body_limit: BodyLimit = max(limits, key=lambda limit: limit.max_bytes)

    def begin(self, request: Request) -> RouteExchange:
        """Start an exchange; its ``refusal`` is set if the key or the limit refuses the request."""
        followers = self.services.followers
        exchange: RouteExchange = RouteExchange(self, request) if followers is None else followers.begin(self, request)
        try:
            key = exchange.key = self.services.keys.check(self.route.scope, credentials(request.headers))
            if self.route.limited and self.services.load.requests > self._max_requests:
                raise _full(self._max_requests)
            if key is not None and self.route.scope is not None:
                key.take_request()
        except IngrainError as error:
            # The body, which tells the dialects apart, has not been read yet.
            exchange.refusal = exchange.refuse(error, self.any_dialect)
        return exchange

    def chosen(self, request: Request) -> Endpoint:
        """Return the endpoint of the dialect that a request with a complete body is for.

        Raises:
            TooLargeError: The body is over the limit of that endpoint.
        """
        number = self._choice.number(request)
        endpoint = self.others[number - 1] if number else self
        if len(request.body) > endpoint._own_limit.max_bytes:
            raise body_too_large(endpoint._own_limit)
        return endpoint


class RouteExchange:
    """One request of a route. It counts as in progress from its headers to its response.

    Attributes:
        key: The request's key, if it has a name.
        refusal: The error response of a refused request; None if the request was accepted.
    """

    __slots__ = (
        "_cancel",
        "_deliver",
        "_endpoint",
        "_has_ended",
        "_held_bytes",
        "_request",
        "_request_id",
        "_started",
        "_work",
        "key",
        "refusal",
    )

    def __init__(self, endpoint: Endpoint, request: Request) -> None:
        self.key: NamedKey | None = None
        self.refusal: Response | None = None
        self._has_ended = False
        self._held_bytes = 0
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

    @property
    def body_limit(self) -> BodyLimit:
        """Limit of the route."""
        return self._endpoint.body_limit

    @property
    def _services(self) -> Services:
        services = self._endpoint.services
        return services if self.key is None else permitted(services, self.key)

    def start(self, deliver: Callable[[Response], None]) -> Response | Started:
        """Call the handler. Start its pipeline task at once, or report that its coroutine needs an asyncio task."""
        services = self._services
        self._deliver = deliver
        if needs_preparation(self._request):
            self._work = self._prepare_and_handle()
            return Started.NEEDS_A_TASK
        try:
            if self._endpoint.others:
                self._endpoint = self._endpoint.chosen(self._request)
            work = self._work = self._endpoint.route.handler(services, self._request)
            if not isinstance(work, Work):
                return Started.NEEDS_A_TASK
            self._cancel = services.pipeline.start(work.task, self)
        except Exception as error:  # as in ``answer``
            return self._refuse_for(error)
        return Started.WILL_BE_DELIVERED

    async def _prepare_and_handle(self) -> Response:
        services, request = self._services, self._request
        await join_body(services.parsing, request)
        body = await decompressed(services.parsing, request, self._endpoint.body_limit)
        if body is not request.body:
            if not services.bodies.has_room(len(body)):
                raise services.bodies.full()
            request.body = body
            if not self._has_ended:  # a request that changes state goes on without its client
                services.bodies.take(len(body))
                self._held_bytes = len(body)
        del body
        if self._endpoint.others:
            loop = asyncio.get_running_loop()
            self._endpoint = await loop.run_in_executor(services.parsing, self._endpoint.chosen, request)
        route = self._endpoint.route
        await decode_in_a_thread(services.parsing, request, route, services.limits.max_items)
        work = route.handler(services, request)
        if isinstance(work, Work):
            return work.respond(await services.pipeline.run(work.task))
        return await work

    def done(self, result: Any) -> None:
        """Deliver the response for the result of the pipeline task."""
        if self._has_ended:
            return
        assert isinstance(self._work, Work)
        try:
            response = self._finish(self._work.respond(result))
        except Exception as error:  # as in ``answer``
            response = self._refuse_for(error)
        self._deliver(response)

    def failed(self, error: Exception) -> None:
        """Deliver the error response of the pipeline task."""
        if not self._has_ended:
            self._deliver(self._refuse_for(error))

    async def answer(self) -> Response:
        """Await the handler's coroutine and return its response, or an error response if it fails."""
        answering = self._work
        assert answering is not None
        assert not isinstance(answering, Work)
        try:
            # Shield requests that change state, so that they finish even if the client disconnects.
            response = await (answering if self._endpoint.route.limited else asyncio.shield(detach(answering)))
        except Exception as error:  # the client gets an error response, the log gets the traceback
            return self._refuse_for(error)
        except BaseException:  # usually CancelledError
            self.abandon()
            raise
        return self._finish(response)

    def _finish(self, response: Response) -> Response:
        response.headers["x-request-id"] = self._request_id
        if self.key is not None:
            self.key.add_headers(response.headers)
        if isinstance(response, StreamedResponse):
            response.on_end = lambda is_whole: self._end(response.status if is_whole else _CLIENT_CLOSED_REQUEST)
        else:
            self._end(response.status)
        return response

    def _refuse_for(self, error: Exception) -> Response:
        if isinstance(error, IngrainError):
            return self.refuse(error)
        log.error(
            "Request %s%s to %s failed", self._request_id, self._of_key, self._endpoint.route.path, exc_info=error
        )
        return self.refuse(
            machine_fault(error)
            or IngrainError("The server failed on this request; its log has the cause under this request id.")
        )

    @property
    def _of_key(self) -> str:
        return "" if self.key is None else f" of key {self.key.name}"

    def refuse(self, error: IngrainError, dialect: Dialect | None = None) -> Response:
        """End the exchange and return the response to an error, in the words of a dialect; of the route's if None."""
        response = error_response(with_names(error, self.key), self._request_id, dialect or self._endpoint.dialect)
        if self.key is not None:
            self.key.add_headers(response.headers)
        self._end(response.status)
        return response

    def abandon(self) -> None:
        """End the exchange because the client is gone; cancel its work."""
        if self._cancel is not None:
            self._cancel()
        elif inspect.iscoroutine(self._work) and inspect.getcoroutinestate(self._work) == inspect.CORO_CREATED:
            self._work.close()  # never awaited
        self._end(_CLIENT_CLOSED_REQUEST)

    def _end(self, status: int) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        if self._held_bytes:
            self._endpoint.services.bodies.give_back(self._held_bytes)
        self._cancel = None  # breaks the reference cycle between the exchange and its pipeline task
        endpoint = self._endpoint
        route, load = endpoint.route, endpoint.services.load
        load.in_progress -= 1
        load.requests -= route.limited
        seconds = time.perf_counter() - self._started
        endpoint.services.telemetry.observe(route.path, status, seconds)
        if self.key is not None:
            self.key.counts.answer(status)
        if access_log.isEnabledFor(logging.DEBUG):
            told = route.method, route.path, status, 1e3 * seconds, self._request_id, self._of_key
            access_log.debug("%s %s %d %.1f ms %s%s", *told)


def _body_limit(route: Route, services: Services) -> BodyLimit:
    """Return the limit of a route's body; one that all bodies together may not reach is too large for ever, too."""
    limits = services.limits
    own = (
        BodyLimit(limits.max_image_body_bytes, "INGRAIN_MAX_IMAGE_BODY_BYTES")
        if route.takes_images
        else BodyLimit(limits.max_body_bytes, "INGRAIN_MAX_BODY_BYTES")
    )
    return min(own, BodyLimit(services.bodies.max_bytes, "INGRAIN_MAX_BODIES_BYTES"), key=lambda one: one.max_bytes)


def _full(limit: int) -> QueueFullError:
    return QueueFullError(
        f"The server already has {limit} requests in progress (INGRAIN_MAX_REQUESTS). Try again later.",
        retry_after_s=1.0,
        facts={"limit": limit},
    )


def request_id_of(request: Request) -> str:
    """Return the client's ``X-Request-Id`` if it has only safe characters, else a new id."""
    if b"x-request-id" in request.headers:
        given = request.header("x-request-id")
        if _REQUEST_ID.fullmatch(given):
            return given
    return f"{_PROCESS}{next(_numbers):012x}"
