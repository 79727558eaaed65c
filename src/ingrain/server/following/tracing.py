"""Makes OpenTelemetry's traces of requests: a span for each request, and one for each of its stages."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ingrain.server.following.exchange import FollowedExchange
from ingrain.server.http.message import Request
from ingrain.server.plane.route import Route
from ingrain.timeline import Timeline, Trace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

_SERVER_ERROR = 500
# A request of thousands of items has hundreds of batches.
_MOST_BATCHES = 64


class Tracing:
    """Makes the traces of requests that are sampled.

    Args:
        provider: OpenTelemetry's provider; this object closes it.
        exporter: Sends the provider's spans.
    """

    def __init__(self, provider: TracerProvider, exporter: SpanExporter) -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self.api = trace
        self.propagator = TraceContextTextMapPropagator()
        self._provider = provider
        self._exporter = exporter
        self.tracer = provider.get_tracer("ingrain")

    def begin(self, request: Request, route: Route) -> RequestTrace | None:
        """Begin the trace of a request, in its caller's trace if it has one; None if it is not sampled."""
        carrier = {name: request.header(name) for name in ("traceparent", "tracestate")}
        span = self.tracer.start_span(
            f"{route.method} {route.path}",
            context=self.propagator.extract(carrier),
            kind=self.api.SpanKind.SERVER,
            attributes={"http.request.method": route.method, "http.route": route.path},
        )
        return RequestTrace(self, span) if span.is_recording() else None

    def end(self, exchange: FollowedExchange) -> None:
        """End the trace of a request."""
        if isinstance(exchange.timeline.trace, RequestTrace):
            exchange.timeline.trace.end(exchange)

    def close(self) -> None:
        """Send what was not sent yet; blocks."""
        self._provider.shutdown()

    def give_up(self) -> None:
        """Try no more to send what the receiver did not take; a request that is under way may still take its time."""
        self._exporter.shutdown()


class RequestTrace:
    """The trace of one request. Its attributes have nothing of what the caller has written, but for its request id.

    Args:
        tracing: Makes the spans.
        span: The request's span.
    """

    def __init__(self, tracing: Tracing, span: Span) -> None:
        self.span = span
        self.batches = 0
        self._tracing = tracing
        self._epoch_ns = time.time_ns() - time.perf_counter_ns()

    @property
    def link(self) -> Any:
        """A link to the request's span."""
        return self._tracing.api.Link(self.span.get_span_context())

    def send_batch(self, others: Sequence[Trace], *, items: int, tokens: int) -> BatchTrace | None:
        """Begin a batch of this request and others; see ``Trace``."""
        if self.batches >= _MOST_BATCHES:
            return None
        traces = [self, *(other for other in others if isinstance(other, RequestTrace))]
        return BatchTrace(traces, items=items, tokens=tokens)

    def begin_stage(self, name: str, begin: float, links: Sequence[Any] = (), **attributes: int) -> Span:
        """Begin the span of a stage.

        Args:
            name: Name of the stage.
            begin: When it began, by ``time.perf_counter``.
            links: Links to other spans.
            attributes: Attributes of the span, without the prefix that all have.
        """
        tracing = self._tracing
        return tracing.tracer.start_span(
            name,
            context=tracing.api.set_span_in_context(self.span),
            links=links,
            start_time=self._at(begin),
            attributes={f"ingrain.{key}": value for key, value in attributes.items()},
        )

    def end_stage(self, span: Span, end: float) -> None:
        """End the span of a stage at a time by ``time.perf_counter``."""
        span.end(self._at(end))

    def traceparent(self, span: Span) -> str:
        """Return the W3C's header for a span."""
        carrier: dict[str, str] = {}
        self._tracing.propagator.inject(carrier, self._tracing.api.set_span_in_context(span))
        return carrier["traceparent"]

    def fail(self, span: Span) -> None:
        """Mark a span as failed."""
        span.set_status(self._tracing.api.StatusCode.ERROR)

    def end(self, exchange: FollowedExchange) -> None:
        """End the request's span, after those of its stages."""
        line, span = exchange.timeline, self.span
        for name, stage in line.stages.items():
            if name != "infer" or not self.batches:
                self.end_stage(self.begin_stage(name, stage.begin, busy_us=round(1e6 * stage.busy_s)), stage.end)
        span.set_attributes(
            {
                "http.response.status_code": exchange.status,
                "http.request.body.size": exchange.received_bytes,
                "http.response.body.size": exchange.sent_bytes,
                "ingrain.request_id": exchange.request_id,
                **({"ingrain.key": exchange.key.name} if exchange.key is not None else {}),
                **_of_task(line),
            }
        )
        if exchange.status >= _SERVER_ERROR:
            span.set_attribute("error.type", str(exchange.status))
            self.fail(span)
        self.end_stage(span, exchange.ended)

    def _at(self, seconds: float) -> int:
        """Return a time by ``time.perf_counter`` as nanoseconds since 1970."""
        return self._epoch_ns + int(1e9 * seconds)


class BatchTrace:
    """A batch in the engine: a span of its first request, with links to the spans of all its requests if they are more.

    In the traces of the other requests the time has a span, too, with a link to that of the batch.

    Attributes:
        traceparent: Identifies the batch for the engine.

    Args:
        traces: Traces of the requests in the batch.
        items: As in ``Trace.send_batch``.
        tokens: As in ``Trace.send_batch``.
    """

    def __init__(self, traces: Sequence[RequestTrace], *, items: int, tokens: int) -> None:
        self._first, *self._others = traces
        self._began = time.perf_counter()
        links = [trace.link for trace in traces] if self._others else []
        self._span = self._first.begin_stage("infer", self._began, links, batch_items=items, batch_tokens=tokens)
        self.traceparent = self._first.traceparent(self._span)
        self._first.batches += 1

    def end(self, *, failed: bool) -> None:
        """End the spans of the batch."""
        now, api = time.perf_counter(), self._first._tracing.api
        if failed:
            self._first.fail(self._span)
        self._first.end_stage(self._span, now)
        for trace in self._others:
            trace.batches += 1
            if trace.batches <= _MOST_BATCHES:
                link = api.Link(self._span.get_span_context())
                trace.end_stage(trace.begin_stage("infer", self._began, [link]), now)


def _of_task(line: Timeline) -> dict[str, str | int]:
    if not line.task:
        return {}
    return {
        "ingrain.model": line.model,
        "ingrain.task": line.task,
        "ingrain.items": line.items,
        "ingrain.tokens": line.tokens,
    }
