"""Reads which cached rows a request may get."""

from __future__ import annotations

from ingrain.server.http.message import Request
from ingrain.server.plane.auth import credentials
from ingrain.server.plane.services import Services

_BYPASSES = frozenset(("no-store", "no-cache"))


def cache_group(services: Services, request: Request) -> int | None:
    """Return the number of the request's API key, as requests with the same key share cached rows.

    Returns:
        0 if the inference plane needs no key; None if ``Cache-Control`` has ``no-store`` or ``no-cache``: the request
        then neither gets cached rows nor adds any.
    """
    headers = request.headers
    asked = headers.get(b"cache-control")
    if asked is not None:
        directives = {directive.strip().lower() for directive in asked.decode("latin-1").split(",")}
        if not _BYPASSES.isdisjoint(directives):
            return None
    if services.key is not None:
        return services.key.group
    return services.keys.number(credentials(headers))
