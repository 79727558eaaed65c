"""Checks the request headers that a caller sets for fetching its URLs."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ingrain.errors import InvalidRequestError, TooLargeError

_REFUSED = frozenset(
    (
        *(
            "connection",
            "keep-alive",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
        ),  # of the connection: RFC 9110, 7.6.1
        *("host", "content-length", "expect"),  # the fetcher's own
    )
)
_REFUSED_STARTS = ("proxy-", "http2-", "sec-websocket-")
_OWN = "Accept-Encoding"  # images are read as they are

MAX_HEADER_CHARS = 8192
"""Limit of all header names and values together."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?")


def check_download_headers(headers: Mapping[str, str] | None, *, param: str = "imageDownloadHeaders") -> dict[str, str]:
    """Check a caller's headers; return them with names in the usual spelling, ``X-Api-Key``.

    Headers of the connection are refused. ``Accept-Encoding`` is left out, as images are read without an encoding.

    Raises:
        InvalidRequestError: A name is no header name, refused or repeated, or a value is not printable ASCII.
        TooLargeError: All headers together are longer than :data:`MAX_HEADER_CHARS`.
    """
    checked: dict[str, str] = {}
    for name, value in (headers or {}).items():
        lower = name.lower()
        if not _NAME.fullmatch(name):
            raise InvalidRequestError(f"{param} holds {name[:60]!r}, which is not the name of a header.", param=param)
        if lower in _REFUSED or lower.startswith(_REFUSED_STARTS):
            raise InvalidRequestError(
                f"{param} holds {name[:60]!r}, which the server sets itself for each connection.", param=param
            )
        known = "-".join(map(str.capitalize, lower.split("-")))
        if known in checked:
            raise InvalidRequestError(f"{param} holds {known[:60]} twice.", param=param)
        if not _VALUE.fullmatch(value):
            raise InvalidRequestError(
                f"{param}.{known[:60]} is empty or not printable ASCII.", param=f"{param}.{known[:60]}"
            )
        checked[known] = value
    if sum(len(name) + len(value) for name, value in checked.items()) > MAX_HEADER_CHARS:
        raise TooLargeError(
            f"{param} is longer than {MAX_HEADER_CHARS} characters.", param=param, facts={"limit": MAX_HEADER_CHARS}
        )
    checked.pop(_OWN, None)
    return checked
