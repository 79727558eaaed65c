"""Defines the settings of traces, times and the access log; ``Settings`` has them with all others."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from ingrain.settings.kinds import Positive, setting
from ingrain.settings.memory_fields import MemorySettings


class TelemetrySettings(MemorySettings, frozen=True, kw_only=True):
    """What is told of single requests, and of what their time goes to."""

    otel: Annotated[
        Literal["auto", "on", "off"],
        setting(
            "INGRAIN_OTEL",
            "OpenTelemetry's traces of requests, sent over OTLP/HTTP (docs/tracing.md); needs the extra `otel`. "
            "`auto`: on if OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set.",
        ),
    ] = "auto"
    server_timing: Annotated[
        bool,
        setting(
            "INGRAIN_SERVER_TIMING", "Tell the time of each stage of a request in its response's header Server-Timing."
        ),
    ] = False
    access_log: Annotated[
        Literal["off", "sampled", "all"],
        setting(
            "INGRAIN_ACCESS_LOG",
            "Lines in the log for requests: none, one in INGRAIN_ACCESS_LOG_SAMPLE and all with status 429 or 5xx, or "
            "all. They have no text of callers.",
        ),
    ] = "off"
    access_log_sample: Annotated[
        Positive,
        setting(
            "INGRAIN_ACCESS_LOG_SAMPLE",
            "With INGRAIN_ACCESS_LOG=sampled: one in so many requests of a process is logged.",
        ),
    ] = 100
    stage_metrics: Annotated[
        bool,
        setting(
            "INGRAIN_STAGE_METRICS",
            "Count the time of each stage of requests, by model and task, in the metrics (`ingrain_stage_seconds`).",
        ),
    ] = False
    triton_metrics_url: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^(https?://[^/]+/|embedded$)")], ...],
        setting(
            "INGRAIN_TRITON_METRICS_URL",
            "Where Triton has its metrics, `http://triton:8002/metrics`, of several separated by commas; they are told "
            "with the server's own. `embedded`: those of the embedded Triton, which then listens on a port of the "
            "loopback.",
        ),
    ] = ()
