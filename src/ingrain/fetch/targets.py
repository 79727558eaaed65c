"""Parses URLs to fetch, and refuses URLs whose host different parsers could read differently."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

import httpcore
import httpx

from ingrain.errors import FetchRefusedError

_PORTS = {"http": 80, "https": 443}
_MAX_URL_CHARS = 8192
_MAX_HOST_CHARS = 253
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
# Parts of an IPv4 address that the C library accepts: decimal, octal or hexadecimal numbers.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True, slots=True)
class Target:
    """The parsed URL of one request.

    Attributes:
        url: The URL as httpx has parsed it.
        host: Lower-case ASCII name, or an IP address without brackets.
        port: The given port, or the scheme's default.
    """

    url: httpx.URL
    host: str
    port: int

    @classmethod
    def parse(cls, text: str, *, param: str) -> Target:
        """Parse a URL.

        Args:
            text: The URL from the caller or from a redirect.
            param: Path of the field that contains the URL, for the error.

        Raises:
            FetchRefusedError: The text is not a plain http or https URL.
        """
        url = _parse(text, param)
        if url.scheme not in _PORTS:
            raise refused(param, "only http and https URLs are fetched")
        if url.userinfo or "@" in url.netloc.decode("ascii", "replace"):
            raise refused(param, "user names and passwords in URLs are not accepted; use imageDownloadHeaders")
        port = url.port if url.port is not None else _PORTS[url.scheme]
        if not 1 <= port <= 65535:
            raise refused(param, "its port is not between 1 and 65535")
        return cls(url, _check_host(url.raw_host.decode("ascii", "replace"), param), port)

    def redirected(self, location: str, *, param: str) -> Target:
        """Return the target of a redirect.

        Raises:
            FetchRefusedError: As in ``parse``.
        """
        relative = _parse(location, param)
        try:
            joined = self.url.join(relative)
        except (httpx.InvalidURL, ValueError) as error:
            raise refused(param, "it redirects to a malformed URL") from error
        return Target.parse(str(joined), param=param)

    def keeps_headers_of(self, first: Target) -> bool:
        """Return whether headers for ``first`` may be sent to this target: same host, and never from https to http."""
        if self.host != first.host:
            return False
        same = (self.url.scheme, self.port) == (first.url.scheme, first.port)
        return same or ((first.url.scheme, first.port), (self.url.scheme, self.port)) == (("http", 80), ("https", 443))

    @property
    def origin_url(self) -> httpcore.URL:
        """The URL as httpcore takes it, built from the parsed parts."""
        return httpcore.URL(
            scheme=self.url.raw_scheme, host=self.host.encode("ascii"), port=self.url.port, target=self.url.raw_path
        )


def refused(param: str, why: str) -> FetchRefusedError:
    """Build the error for a refused URL."""
    return FetchRefusedError(f"{param} cannot be fetched: {why}.", param=param)


def _parse(text: str, param: str) -> httpx.URL:
    if len(text) > _MAX_URL_CHARS:
        raise refused(param, f"its URL is longer than {_MAX_URL_CHARS} characters")
    if "\\" in text or any(character < " " or character == "\x7f" for character in text):
        raise refused(param, "its URL holds a backslash or a control character")
    try:
        return httpx.URL(text)
    except (httpx.InvalidURL, ValueError) as error:
        raise refused(param, "its URL is malformed") from error


def _check_host(host: str, param: str) -> str:
    """Return an IP address in canonical form, or a name that no resolver can take for an address; refuse others."""
    if ":" in host:
        if "%" in host:
            raise refused(param, "its address has a zone")
        return str(ip_address(host))
    labels = host.split(".")
    if len(host) > _MAX_HOST_CHARS or not all(map(_LABEL.fullmatch, labels)):
        raise refused(param, "its host is empty or is not a plain name or address")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(ip_address(host))
        except ValueError as error:
            raise refused(param, "its host is a number that is not an IPv4 address of four decimal parts") from error
    return host
