"""The exchange of a request that is followed: it notes the times of the request's stages, and passes them on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from ingrain.errors import IngrainError
from ingrain.server.http.application import Started
from ingrain.server.http.message import Request, Response, StreamedResponse
from ingrain.server.plane.endpoint import Endpoint, RouteExchange
from ingrain.server.plane.route import Dialect, Route
from ingrain.timeline import Timeline, current


class Follower(Protocol):
    """Wants to know the stages of requests."""

    def add_headers(self, exchange: FollowedExchange, response: Response) -> None:
        """Add to a response what is known up to now."""

    def ended(self, exchange: FollowedExchange) -> None:
        """Take a request that has ended."""


class FollowedExchange(RouteExchange):
    """One request of a route, with its timeline.

    Args:
        endpoint: The route with its services.
        request: The request.
        follower: Gets the request when it has ended.

    Attributes:
        timeline: The stages of the request.
        status: HTTP status of the response; 0 before it is known.
        ended: Time at which the response was complete or written, by ``time.perf_counter``.
        sent_bytes: Length of the response's body; 0 for a streamed one.
    """

    __slots__ = ("_finished", "_follower", "_is_streamed", "ended", "sent_bytes", "status", "timeline")

    def __init__(self, endpoint: Endpoint, request: Request, follower: Follower) -> None:
        super().__init__(endpoint, request)
        self.timeline = Timeline(self._started, self._started)
        self.status = 0
        self.ended = self._started
        self.sent_bytes = 0
        self._finished: float | None = None
        self._is_streamed = False
        self._follower = follower

    @property
    def route(self) -> Route:
        """The request's route."""
        return self._endpoint.route

    @property
    def request_id(self) -> str:
        """The request's id."""
        return self._request_id

    @property
    def received_bytes(self) -> int:
        """Length of the request's body as it was sent, if the client has said it."""
        length = self._request.headers.get(b"content-length", b"0")
        return int(length) if length.isdigit() else 0

    def start(self, deliver: Callable[[Response], None]) -> Response | Started:
        """As ``RouteExchange.start``, in the context of the timeline."""
        self.timeline.latest = time.perf_counter()
        token = current.set(self.timeline)
        try:
            return super().start(deliver)
        finally:
            current.reset(token)

    async def answer(self) -> Response:
        """As ``RouteExchange.answer``, in the context of the timeline."""
        token = current.set(self.timeline)
        try:
            return await super().answer()
        finally:
            current.reset(token)

    def refuse(self, error: IngrainError, dialect: Dialect | None = None) -> Response:
        """As ``RouteExchange.refuse``; the writing of an error is not followed."""
        response = super().refuse(error, dialect)
        self.sent_bytes = len(response.body)
        self._follower.add_headers(self, response)
        return response

    def _finish(self, response: Response) -> Response:
        timeline = self.timeline
        self._finished = time.perf_counter()
        if timeline.stages:
            timeline.add("finish", timeline.latest, self._finished)
        self._is_streamed = isinstance(response, StreamedResponse)
        if not self._is_streamed:
            self.sent_bytes = len(response.body)
            response.on_written = self._written
        super()._finish(response)
        self._follower.add_headers(self, response)
        return response

    def _written(self) -> None:
        assert self._finished is not None
        self.ended = time.perf_counter()
        self.timeline.add("write", self._finished, self.ended)

    def _end(self, status: int) -> None:
        if self._has_ended:
            return
        super()._end(status)
        self.status, self.ended = status, time.perf_counter()
        if self._is_streamed:
            self._written()
        # The response is written before the event loop calls the next function.
        asyncio.get_running_loop().call_soon(self._follower.ended, self)
