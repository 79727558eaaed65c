"""Chooses the port on which the embedded Triton has its metrics, if a setting asks for them."""

from __future__ import annotations

import socket
import urllib.parse

import msgspec

from ingrain.engine.placement import Placement
from ingrain.errors import SettingsError
from ingrain.settings import Settings

_EMBEDDED, _LOOPBACK = "embedded", "127.0.0.1"


def with_metrics_port(settings: Settings, placement: Placement) -> Settings:
    """Return the settings with a URL in the place of ``embedded``, so that workers know it, too.

    Raises:
        SettingsError: The metrics of the embedded Triton are asked for, but graphs run elsewhere.
    """
    urls = settings.triton_metrics_url
    if _EMBEDDED not in urls:
        return settings
    if placement.engine != _EMBEDDED or len(urls) > 1:
        raise SettingsError(
            "INGRAIN_TRITON_METRICS_URL has 'embedded', which must be its only entry and needs the embedded Triton; "
            f"graphs run on {placement.description}.",
            param="INGRAIN_TRITON_METRICS_URL",
        )
    with socket.create_server((_LOOPBACK, 0)) as free:
        port = free.getsockname()[1]
    return msgspec.structs.replace(settings, triton_metrics_url=(f"http://{_LOOPBACK}:{port}/metrics",))


def metrics_port(settings: Settings, placement: Placement) -> int:
    """Return the port for the metrics of the embedded Triton; 0 if it shall have none."""
    for url in map(urllib.parse.urlsplit, settings.triton_metrics_url):
        if placement.engine == _EMBEDDED and url.hostname == _LOOPBACK:
            return url.port or 0
    return 0
