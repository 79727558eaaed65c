"""Builds what follows requests: the traces, the access log, ``Server-Timing`` and the metrics of stages."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import uuid

from ingrain import __version__
from ingrain.app.logs import access_line_writer
from ingrain.errors import SettingsError
from ingrain.install_hint import install_hint
from ingrain.server.following.access_log import access_log_of
from ingrain.server.following.followers import Followers
from ingrain.server.following.tracing import Tracing
from ingrain.server.plane.services import Services
from ingrain.server.plane.telemetry import Telemetry
from ingrain.settings import Settings

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
_SPOKEN = "http/protobuf"
_LAST_S = 3.0

log = logging.getLogger("ingrain.server")


def followers(settings: Settings, telemetry: Telemetry, process: str | None) -> Followers | None:
    """Return what follows the requests of this process; None if nobody wants to know their times.

    Raises:
        SettingsError: Traces are on, and OpenTelemetry is not installed.
    """
    tracing = _tracing(settings)
    writer = access_line_writer(settings.log_format, process)
    access_log = access_log_of(settings.access_log, settings.access_log_sample, writer)
    if tracing is None and access_log is None and not settings.server_timing and not settings.stage_metrics:
        return None
    return Followers(
        tracing=tracing,
        access_log=access_log,
        server_timing=settings.server_timing,
        count_stages=telemetry.observe_stages if settings.stage_metrics else None,
    )


async def close_followers(services: Services) -> None:
    """Send and write what was not yet, in a thread and for three seconds at most, as the receiver may be slow.

    What the receiver has not taken by then is given up: the exporter would go on trying in its own thread.
    """
    if services.followers is not None:
        closing = threading.Thread(target=services.followers.close, name="last traces", daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, _LAST_S)
        if closing.is_alive():
            services.followers.give_up()


def _tracing(settings: Settings) -> Tracing | None:
    """Return what makes traces, set up by OpenTelemetry's own variables; None if they are off."""
    is_asked = settings.otel == "on"
    if settings.otel == "off" or not (is_asked or any(os.environ.get(name) for name in _ENDPOINTS)):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        message = f"OpenTelemetry is not installed, which traces need. Run: {install_hint('otel')}"
        if is_asked:
            raise SettingsError(f"INGRAIN_OTEL is 'on'. {message}", param="INGRAIN_OTEL") from error
        log.warning("There are no traces: %s", message)
        return None
    for name in _PROTOCOLS:
        if os.environ.get(name, _SPOKEN) != _SPOKEN:
            log.warning("%s is %r, but traces are sent as %s.", name, os.environ[name], _SPOKEN)
    own = {"service.name": "ingrain", "service.version": __version__, "service.instance.id": str(uuid.uuid4())}
    # What the operator names goes before our own.
    resource = Resource.create().merge(Resource(own)).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Tracing(provider, exporter)
