"""A receiver of OpenTelemetry's traces on loopback, which keeps the spans that it gets."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass
class OtlpReceiver:
    """What came over OTLP/HTTP: the spans, and the attributes of their resources."""

    endpoint: str = ""
    spans: list[Any] = field(default_factory=list)
    resources: list[dict[str, str]] = field(default_factory=list)

    def trace(self, trace_id: str) -> dict[str, list[Any]]:
        """Return the spans of a trace by name."""
        found: dict[str, list[Any]] = {}
        for span in list(self.spans):
            if span.trace_id.hex() == trace_id:
                found.setdefault(span.name, []).append(span)
        return found

    def wait_for(self, trace_id: str, name: str, within_s: float = 30.0) -> dict[str, list[Any]]:
        """Return the spans of a trace as soon as there is one of this name; it is sent in a thread."""
        deadline = time.monotonic() + within_s
        while name not in (found := self.trace(trace_id)):
            assert time.monotonic() < deadline, f"no span {name!r} among {sorted(found)}"
            time.sleep(0.02)
        return found


def attributes(owner: Any) -> dict[str, Any]:
    """Return the attributes of a span or a resource."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in owner.attributes}


@contextmanager
def otlp_receiver() -> Iterator[OtlpReceiver]:
    """Receive on a free port of the loopback."""
    received = OtlpReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.path == "/v1/traces", self.path
            assert self.headers["content-type"] == "application/x-protobuf"
            for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                received.resources.append(attributes(of_resource.resource))
                received.spans += [span for scope in of_resource.scope_spans for span in scope.spans]
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        received.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield received
        finally:
            server.shutdown()
            thread.join()
