"""What every route has in common: key, limit, request id, errors, telemetry."""

from __future__ import annotations

import itertools
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ingrain.api.routes import RouteInfo
from ingrain.errors import IngrainError, QueueFullError
from ingrain.server.errors import error_response
from ingrain.server.services import Services

Handler = Callable[[Services, Request], Awaitable[Response]]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_CLIENT_CLOSED_REQUEST = 499
_PROCESS = uuid.uuid4().hex[:20]
_numbers = itertools.count(1)

log = logging.getLogger("ingrain.server")
access_log = logging.getLogger("ingrain.access")


class Endpoint:
    """A route as an ASGI application; the handlers themselves have no ``try``."""

    def __init__(self, route: RouteInfo, handler: Handler, services: Services) -> None:
        self._route = route
        self._handler = handler
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = time.perf_counter()
        request = Request(scope, receive)
        request_id = request_id_of(request)
        try:
            response = await self._answer(request, request_id)
        except ClientDisconnect:
            self._services.telemetry.observe(self._route.path, _CLIENT_CLOSED_REQUEST, time.perf_counter() - started)
            return
        headers = [*response.raw_headers, (b"x-request-id", request_id.encode())]
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})
        seconds = time.perf_counter() - started
        self._services.telemetry.observe(self._route.path, response.status_code, seconds)
        access_log.debug(
            "%s %s %d %.1f ms %s", self._route.method, self._route.path, response.status_code, 1e3 * seconds, request_id
        )

    async def _answer(self, request: Request, request_id: str) -> Response:
        self._services.telemetry.in_progress.inc()
        self._services.load.requests += self._route.limited
        try:
            self._services.keys.check(self._route.scope, request.headers.get("authorization"))
            self._refuse_when_full()
            return await self._handler(self._services, request)
        except IngrainError as error:
            return error_response(error, request_id)
        except ClientDisconnect:
            raise
        except Exception:  # whatever broke, the caller gets a clean answer and the log gets the trace
            log.exception("Request %s to %s failed", request_id, self._route.path)
            return error_response(IngrainError("The server failed on this request."), request_id)
        finally:
            self._services.load.requests -= self._route.limited
            self._services.telemetry.in_progress.dec()

    def _refuse_when_full(self) -> None:
        limit = self._services.settings.max_requests
        if self._route.limited and self._services.load.requests > limit:
            raise QueueFullError(
                f"The server is answering {limit} requests already (INGRAIN_MAX_REQUESTS). Try again later.",
                retry_after_s=1.0,
                facts={"limit": limit},
            )


def request_id_of(request: Request) -> str:
    """Return the caller's ``X-Request-Id`` where it is a plain word, else a new one."""
    given = request.headers.get("x-request-id", "")
    return given if given and _REQUEST_ID.fullmatch(given) else f"{_PROCESS}{next(_numbers):012x}"
