"""The files of the pages for people, as responses that let a browser load nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources.abc import Traversable

from ingrain.server.http.message import Response

_MEDIA = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "svg": "image/svg+xml",
}
# Nothing from other hosts, no inline scripts, and no other site may show the page in a frame.
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def page_file(name: str, body: bytes) -> Response:
    """Return a file of a page; the end of its name says its type."""
    return Response(body, media_type=_MEDIA[name.rpartition(".")[2]], headers=dict(_HEADERS))


def files_in(folder: Traversable) -> Iterator[Traversable]:
    """Yield the files of a folder that have one of the types."""
    return (file for file in folder.iterdir() if file.name.rpartition(".")[2] in _MEDIA)
