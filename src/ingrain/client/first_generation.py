"""What programs for the first generation of clients use: header lines, and the engine that sent their requests."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from ingrain import __version__
from ingrain.errors import AnswerTimeoutError, IngrainWebException, ServerUnreachableError, SettingsError

_RETRIED = frozenset({429, 500, 502, 503, 504})
_OWN = "content-type"  # each request has its own


def headers_of(lines: Sequence[str] | None) -> dict[str, str]:
    """Return header lines (``Name: value``) as a mapping.

    Raises:
        SettingsError: A line has no colon.
    """
    if lines is None:
        return {}
    deprecated("Client(header=[…])", "headers={…}")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise SettingsError(f"header has the line {line[:100]!r}; each must be `Name: value`.", param="header")
        if name.strip().lower() != _OWN:
            headers[name.strip()] = value.strip()
    return headers


def sent_by(user_agent: str | None) -> dict[str, str]:
    """Return the header that names the program, if one is given."""
    if user_agent is None:
        return {}
    deprecated("Client(user_agent=…)", "headers={'User-Agent': …}")
    return {"User-Agent": user_agent}


def deprecated(old: str, new: str) -> None:
    """Warn that a name of the first generation of clients is used."""
    warnings.warn(
        f"{old} is of the first generation of Ingrain's client; use {new} instead.", DeprecationWarning, stacklevel=4
    )


class PyCURLEngine:
    """Sends single requests, as the engine of that name did; httpx is in the place of cURL.

    Args:
        timeout: Timeout of a response in seconds.
        connect_timeout: Timeout of a connection in seconds.
        header: Header lines (``Name: value``) of every request.
        user_agent: The header ``User-Agent``.
    """

    def __init__(
        self,
        timeout: float = 600,
        connect_timeout: float = 600,
        header: Sequence[str] = ("Content-Type: application/json",),
        user_agent: str = f"ingrain-client/{__version__}",
    ) -> None:
        self.timeout = timeout
        self.connect_timeout = connect_timeout
        self.header = list(header)
        self.user_agent = user_agent
        lines = (line.partition(":") for line in header)
        headers = {"User-Agent": user_agent, **{name.strip(): value.strip() for name, _, value in lines}}
        self._http = httpx.Client(headers=headers, timeout=httpx.Timeout(timeout, connect=connect_timeout))

    def get(self, url: str, params: Mapping[str, Any] | None = None, retries: int = 0) -> tuple[Any, int]:
        """Return the JSON of a response and its status; parameters that are None are not sent."""
        given = {name: value for name, value in (params or {}).items() if value is not None}
        return self._request("GET", url, retries, params=given or None)

    def post(self, url: str, data: Mapping[str, Any], retries: int = 0) -> tuple[Any, int]:
        """Send JSON; return the JSON of the response and its status."""
        return self._request("POST", url, retries, json=data)

    def put(self, url: str, data: Mapping[str, Any], retries: int = 0) -> tuple[Any, int]:
        """Send JSON; return the JSON of the response and its status."""
        return self._request("PUT", url, retries, json=data)

    def patch(self, url: str, data: Mapping[str, Any], retries: int = 0) -> tuple[Any, int]:
        """Send JSON; return the JSON of the response and its status."""
        return self._request("PATCH", url, retries, json=data)

    def delete(self, url: str, data: Mapping[str, Any], retries: int = 0) -> tuple[Any, int]:
        """Send JSON; return the JSON of the response and its status."""
        return self._request("DELETE", url, retries, json=data)

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def _request(self, method: str, url: str, retries: int, **content: Any) -> tuple[Any, int]:
        try:
            for left in range(retries, -1, -1):
                response = self._http.request(method, url, **content)
                if response.status_code not in _RETRIED or not left:
                    break
        except httpx.TimeoutException as error:
            raise AnswerTimeoutError(f"{url} did not answer in time.") from error
        except httpx.TransportError as error:
            raise ServerUnreachableError(f"{url} cannot be reached.") from error
        try:
            body = response.json()
        except ValueError:
            body = {"error": response.text}
        if response.status_code != 200:
            raise error_factory(response.status_code, body)
        return body, response.status_code


def error_factory(status_code: int, body: Mapping[str, Any]) -> IngrainWebException:
    """Return the error for a response; its text is the body's ``message``, ``error`` or ``detail``."""
    text = next((body[name] for name in ("message", "error", "detail") if body.get(name) is not None), "UNKNOWN ERROR")
    return IngrainWebException(text, status_code, body)
