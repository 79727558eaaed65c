"""Checks the request headers that a caller sets for fetching its URLs."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ingrain.errors import InvalidRequestError, TooLargeError

ALLOWED = ("Authorization", "Accept", "Accept-Language", "Cookie", "Referer", "User-Agent")

MAX_HEADER_CHARS = 8192
"""Limit of all header names and values together."""

_BY_LOWER = {name.lower(): name for name in ALLOWED}
_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?")


def check_download_headers(headers: Mapping[str, str] | None, *, param: str = "imageDownloadHeaders") -> dict[str, str]:
    """Check a caller's headers; return them with names spelled as in :data:`ALLOWED`.

    Raises:
        InvalidRequestError: A name is not allowed or repeated, or a value is not printable ASCII.
        TooLargeError: All headers together are longer than :data:`MAX_HEADER_CHARS`.
    """
    checked: dict[str, str] = {}
    for name, value in (headers or {}).items():
        known = _BY_LOWER.get(name.lower())
        if known is None:
            raise InvalidRequestError(
                f"{param} holds {name[:60]!r}, which is not one of {', '.join(ALLOWED)}.", param=param
            )
        if known in checked:
            raise InvalidRequestError(f"{param} holds {known} twice.", param=param)
        if not _VALUE.fullmatch(value):
            raise InvalidRequestError(f"{param}.{known} is empty or not printable ASCII.", param=f"{param}.{known}")
        checked[known] = value
    if sum(len(name) + len(value) for name, value in checked.items()) > MAX_HEADER_CHARS:
        raise TooLargeError(
            f"{param} is longer than {MAX_HEADER_CHARS} characters.", param=param, facts={"limit": MAX_HEADER_CHARS}
        )
    return checked
