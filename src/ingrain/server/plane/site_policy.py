"""Decides which requests of browsers are accepted: by host name, by origin, and by type of the body."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ingrain.errors import ForeignSiteError, UnsupportedMediaError
from ingrain.server.http.message import Request

ANY = "*"
"""Entry that allows every host or origin."""

_SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
_RATE_LIMITS = ", ".join(
    f"X-RateLimit-{fact}-{what}" for what in ("Requests", "Tokens") for fact in ("Limit", "Remaining", "Reset")
)
_EXPOSED = (
    "X-Request-Id, Retry-After, X-Truncated-Texts, X-Token-Ids, X-Embeddings-Shape, X-Embeddings-Dtype, " + _RATE_LIMITS
)
_HEADERS = "Authorization, Content-Type, Cache-Control, X-Request-Id"
_HEADER_NAMES = re.compile(r"[A-Za-z0-9-]{1,64}(?: ?, ?[A-Za-z0-9-]{1,64}){0,63}")
_PREFLIGHT = {
    "access-control-allow-methods": "GET, POST, DELETE",
    "access-control-allow-private-network": "true",
    "access-control-max-age": "600",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePolicy:
    """Rules for requests that a browser may have sent for a page of any site.

    Programs other than browsers send neither ``Origin`` nor ``Sec-Fetch-Site``, so that only the rule for host names
    concerns them.

    Attributes:
        hosts: Host names under which this server may be addressed; None for any. A page whose name was made to point
            at this server (DNS rebinding) sends its own name.
        origins: Origins (``https://host:port``) of other sites whose pages may send requests and read the responses.
    """

    hosts: frozenset[str] | None = None
    origins: frozenset[str] = frozenset()

    def check(self, request: Request, *, takes_forms: bool) -> Mapping[str, str]:
        """Check a request's head; return headers to add to the response.

        Args:
            request: The request, whose ``Host`` is a valid one.
            takes_forms: Whether the route takes multipart/form-data.

        Raises:
            ForeignSiteError: The host name is not this server's, or another site's page would change something.
            UnsupportedMediaError: A browser sent a body that is not JSON, which a page can send without being asked.
        """
        host = request.header("host").lower()
        if self.hosts is not None and host and host_name(host) not in self.hosts:
            raise ForeignSiteError(
                f"Host {host[:100]!r} is not a name of this server, which listens on the loopback interface. Add the "
                "name to INGRAIN_ALLOWED_HOSTS if it is.",
                param="Host",
            )
        origin, fetch_site = request.header("origin").lower(), request.header("sec-fetch-site").lower()
        if not origin and not fetch_site:
            return {}
        is_allowed = bool(origin) and not self.origins.isdisjoint((origin, ANY))
        if request.method not in _SAFE_METHODS:
            is_own = not origin or (bool(host) and origin.partition("://")[2] == host)
            if not is_allowed and (not is_own or fetch_site == "cross-site"):
                raise ForeignSiteError(
                    "A browser sent this request for a page of another site. Add the page's origin to "
                    "INGRAIN_CORS_ORIGINS to allow it.",
                    param="Origin",
                )
            _check_media(request, takes_forms=takes_forms)
        return _cors_headers(request, origin) if is_allowed else {}


def host_name(host: str) -> str:
    """Return the name or address of a ``Host`` header, without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _check_media(request: Request, *, takes_forms: bool) -> None:
    if request.header("content-length") in ("", "0") and not request.header("transfer-encoding"):
        return
    media = request.header("content-type").partition(";")[0].strip().lower()
    if media.partition("/")[2].rpartition("+")[2] == "json" or (takes_forms and media == "multipart/form-data"):
        return
    raise UnsupportedMediaError(
        f"Content-Type is {media[:100]!r}; a browser must send application/json.", param="Content-Type"
    )


def _cors_headers(request: Request, origin: str) -> Mapping[str, str]:
    # The origin is echoed; it equals one of the operator's, or is made of characters that a header may hold.
    headers = {"access-control-allow-origin": origin, "access-control-expose-headers": _EXPOSED, "vary": "Origin"}
    if request.method != "OPTIONS":
        return headers
    # The clients of other APIs send headers of their own, such as X-Stainless-Lang, which no route reads.
    asked = request.header("access-control-request-headers")
    allowed = asked if _HEADER_NAMES.fullmatch(asked) else _HEADERS
    return headers | _PREFLIGHT | {"access-control-allow-headers": allowed}
