"""The operator's policy for URLs that callers have fetched."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal

from ingrain.errors import SettingsError
from ingrain.fetch.addresses import is_public
from ingrain.fetch.targets import Target, refused


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchPolicy:
    """Which hosts may be fetched from, and the limits of a fetch.

    Attributes:
        mode: ``off``, ``allowlist`` (hosts listed) or ``public``; the latter two reach public addresses only.
        hosts: Hosts that ``allowlist`` allows; ``*.example.com`` stands for every name below ``example.com``.
        exceptions: ``(host, port)`` pairs that are allowed whatever their address.
        connect_timeout_s: Seconds for the name, the connection and the TLS handshake, each.
        read_timeout_s: Seconds between two pieces of an answer.
        total_timeout_s: Seconds for a whole fetch, redirects included.
        max_redirects: Redirects followed.
        max_at_once: Fetches in progress, over all requests.
    """

    mode: Literal["off", "allowlist", "public"] = "public"
    hosts: frozenset[str] = frozenset()
    exceptions: frozenset[tuple[str, int]] = frozenset()
    connect_timeout_s: float = 3.0
    read_timeout_s: float = 5.0
    total_timeout_s: float = 10.0
    max_redirects: int = 3
    max_at_once: int = 64

    def check(self, target: Target, *, param: str) -> None:
        """Refuse a target before its name is resolved; the addresses are checked when it is connected to.

        Raises:
            FetchRefusedError: The policy forbids this target.
        """
        if self.mode == "off":
            raise refused(param, "this server fetches no URLs (INGRAIN_IMAGE_FETCH=off); send the image itself")
        if self.excepts(target.host, target.port):
            return
        if self.mode == "allowlist" and not self._lists(target.host):
            raise refused(param, f"host {target.host!r} is not one that this server fetches from (INGRAIN_FETCH_HOSTS)")
        if _is_address(target.host) and not is_public(target.host):
            raise refused_address(param, target.host)

    def excepts(self, host: str, port: int) -> bool:
        """Tell whether a host and port are allowed whatever their address."""
        return (host, port) in self.exceptions

    def _lists(self, host: str) -> bool:
        labels = host.split(".")
        return host in self.hosts or any("*." + ".".join(labels[cut:]) in self.hosts for cut in range(1, len(labels)))


def refused_address(param: str, host: str) -> Exception:
    """Build the error for an unknown or private host; the same for both, so that it does not tell which names exist."""
    return refused(param, f"host {host!r} is unknown or has an address that is not public")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def read_exception(text: str) -> tuple[str, int]:
    """Read ``host:port``, one of INGRAIN_FETCH_ALLOW.

    Raises:
        SettingsError: It is something else.
    """
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]").lower()
    if not (colon and host and port.isascii() and port.isdecimal() and 1 <= int(port) <= 65535):
        raise SettingsError(
            f"INGRAIN_FETCH_ALLOW holds {text!r}, which is not of the form host:port.", param="INGRAIN_FETCH_ALLOW"
        )
    return host, int(port)
