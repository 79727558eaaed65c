"""Parses URLs to be fetched, and refuses those whose host two parsers could read differently."""

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
# What the C library accepts as part of an IPv4 address: decimal, octal or hexadecimal numbers.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True, slots=True)
class Target:
    """The parsed URL of one request.

    Attributes:
        url: The URL, parsed by httpx, which also sends the request's target.
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
            text: The URL as the caller or a redirect gives it.
            param: Path of the field that it came from, for the error.

        Raises:
            FetchRefusedError: It is not a plain http or https URL.
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
        """Return the target of a redirect, checked like a new URL.

        Raises:
            FetchRefusedError: As for a first URL.
        """
        relative = _parse(location, param)
        try:
            joined = self.url.join(relative)
        except (httpx.InvalidURL, ValueError) as error:
            raise refused(param, "it redirects to a malformed URL") from error
        return Target.parse(str(joined), param=param)

    def keeps_headers_of(self, first: Target) -> bool:
        """Tell whether headers meant for ``first`` may be sent here: same host, and not from https to http."""
        if self.host != first.host:
            return False
        same = (self.url.scheme, self.port) == (first.url.scheme, first.port)
        return same or ((first.url.scheme, first.port), (self.url.scheme, self.port)) == (("http", 80), ("https", 443))

    @property
    def origin_url(self) -> httpcore.URL:
        """The same URL for httpcore, without parsing it again."""
        return httpcore.URL(
            scheme=self.url.raw_scheme, host=self.host.encode("ascii"), port=self.url.port, target=self.url.raw_path
        )


def refused(param: str, why: str) -> FetchRefusedError:
    """Build the error for a URL that will not be fetched."""
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
    """Return the host if it is an IP address in canonical form, or a name that no resolver takes for an address."""
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
