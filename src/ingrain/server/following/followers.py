"""Passes followed requests on: to the traces, to the access log, to the metrics of stages and into their responses."""

from __future__ import annotations

from collections.abc import Callable

from ingrain.server.following.access_log import AccessLog
from ingrain.server.following.exchange import FollowedExchange
from ingrain.server.following.tracing import Tracing
from ingrain.server.http.message import Request, Response
from ingrain.server.plane.endpoint import Endpoint
from ingrain.timeline import Timeline


class Followers:
    """What wants to know the times of requests.

    Args:
        tracing: Makes traces; None for none.
        access_log: Gets a line for requests; None for none.
        server_timing: Whether responses have the header ``Server-Timing``.
        count_stages: Counts the stages of a request; None to count none.
    """

    def __init__(
        self,
        *,
        tracing: Tracing | None = None,
        access_log: AccessLog | None = None,
        server_timing: bool = False,
        count_stages: Callable[[Timeline], None] | None = None,
    ) -> None:
        self._tracing = tracing
        self._access_log = access_log
        self._server_timing = server_timing
        self._count_stages = count_stages

    def begin(self, endpoint: Endpoint, request: Request) -> FollowedExchange:
        """Begin the exchange of a request."""
        exchange = FollowedExchange(endpoint, request, self)
        if self._tracing is not None:
            exchange.timeline.trace = self._tracing.begin(request, endpoint.route)
        return exchange

    def add_headers(self, exchange: FollowedExchange, response: Response) -> None:
        """Add the times up to now to a response: ``Server-Timing`` of the W3C, in milliseconds."""
        if self._server_timing:
            line = exchange.timeline
            stages = [f"{name};dur={1e3 * stage.busy_s:.3f}, " for name, stage in line.stages.items()]
            total_s = exchange.ended - line.begun
            response.headers["server-timing"] = f"{''.join(stages)}total;dur={1e3 * total_s:.3f}"

    def ended(self, exchange: FollowedExchange) -> None:
        """Pass on a request that has ended."""
        if self._count_stages is not None:
            self._count_stages(exchange.timeline)
        if self._access_log is not None:
            self._access_log.add(exchange)
        if self._tracing is not None:
            self._tracing.end(exchange)

    def close(self) -> None:
        """Write what is left; blocks for as long as that takes, seconds at most."""
        if self._access_log is not None:
            self._access_log.close()
        if self._tracing is not None:
            self._tracing.close()

    def give_up(self) -> None:
        """Give up sending what ``close`` has not sent yet."""
        if self._tracing is not None:
            self._tracing.give_up()
