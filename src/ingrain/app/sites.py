"""Derives from the settings which requests of browsers are accepted, and warns of an open server."""

from __future__ import annotations

import ipaddress
import logging

from ingrain.server.plane.site_policy import ANY, SitePolicy
from ingrain.settings import Settings

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")

log = logging.getLogger("ingrain.server")


def site_policy(settings: Settings) -> SitePolicy:
    """Return the rules for requests of browsers.

    Host names are checked if the server listens on the loopback interface without TLS, or if the operator lists names.
    Over TLS a browser itself compares the name with the certificate.
    """
    hosts = None
    is_guarded = _is_loopback(settings.host) and settings.tls_cert_file is None
    if (is_guarded or settings.allowed_hosts) and ANY not in settings.allowed_hosts:
        hosts = frozenset(name.lower() for name in (*_LOOPBACK_NAMES, settings.host, *settings.allowed_hosts))
    origins = frozenset(origin.lower().rstrip("/") for origin in settings.cors_origins)
    return SitePolicy(hosts=hosts, origins=origins)


def warn_if_open(settings: Settings) -> None:
    """Log a warning if other machines can reach the server and no API key protects it."""
    if not _is_loopback(settings.host) and not settings.api_keys and settings.api_keys_file is None:
        log.warning(
            "The server listens on %s without API keys: whoever reaches the ports can use, load and delete models. Set "
            "INGRAIN_API_KEYS or INGRAIN_API_KEYS_FILE, or INGRAIN_HOST=127.0.0.1.",
            settings.host,
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
