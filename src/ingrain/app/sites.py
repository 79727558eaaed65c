"""Derives from the settings which requests of browsers are accepted, and warns of an open server."""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Sequence

from ingrain.errors import SettingsError
from ingrain.server.plane.site_policy import ANY, SitePolicy
from ingrain.settings import Settings

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_HOST = re.compile(r"[^\s/*:\[]+|[0-9a-f]*:[0-9a-f]*:[0-9a-f:.]*", re.IGNORECASE)  # a name, IPv4 or IPv6
_ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^\s/?#*]+/?", re.IGNORECASE)

log = logging.getLogger("ingrain.server")


def site_policy(settings: Settings) -> SitePolicy:
    """Return the rules for requests of browsers.

    Host names are checked if the server listens on the loopback interface without TLS, or if the operator lists names.
    Over TLS a browser itself compares the name with the certificate.

    Raises:
        SettingsError: An entry is no host name, or no origin.
    """
    hosts = None
    allowed = host_names([name for name in settings.allowed_hosts if name != ANY], "INGRAIN_ALLOWED_HOSTS")
    is_guarded = _is_loopback(settings.host) and settings.tls_cert_file is None
    if (is_guarded or settings.allowed_hosts) and ANY not in settings.allowed_hosts:
        hosts = frozenset((*_LOOPBACK_NAMES, settings.host.lower(), *allowed))
    for origin in settings.cors_origins:
        if not _ORIGIN.fullmatch(origin):
            raise SettingsError(
                f"INGRAIN_CORS_ORIGINS has {origin[:100]!r}; an origin is written as browsers send it, such as "
                "https://app.example.com or http://localhost:3000, or `*` for all.",
                param="INGRAIN_CORS_ORIGINS",
            )
    origins = frozenset(origin.lower().rstrip("/") for origin in settings.cors_origins)
    return SitePolicy(hosts=hosts, origins=origins)


def host_names(given: Sequence[str], setting: str, *, wildcard: str = "") -> frozenset[str]:
    """Return the host names of a setting in lower case.

    Args:
        given: The entries.
        setting: The setting, for the error.
        wildcard: What may stand before a name.

    Raises:
        SettingsError: An entry is no host name; it may be a URL, or have a port.
    """
    for name in given:
        if not _HOST.fullmatch(name.removeprefix(wildcard)):
            raise SettingsError(
                f"{setting} has {name[:100]!r}; each entry must be a host name or an address, without scheme, port and "
                "path.",
                param=setting,
            )
    return frozenset(map(str.lower, given))


def warn_if_open(settings: Settings) -> None:
    """Log a warning if other machines can reach the server and no API key protects it."""
    has_keys = settings.api_keys or settings.api_keys_file is not None or settings.keys_file is not None
    if not _is_loopback(settings.host) and not has_keys:
        log.warning(
            "The server listens on %s without API keys: whoever reaches the ports can use, load and delete models. Set "
            "INGRAIN_KEYS_FILE, INGRAIN_API_KEYS or INGRAIN_API_KEYS_FILE, or INGRAIN_HOST=127.0.0.1.",
            settings.host,
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
