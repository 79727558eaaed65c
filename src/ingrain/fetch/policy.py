"""Defines which URLs of callers the server fetches, and checks URLs against it."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from ingrain.errors import SettingsError
from ingrain.fetch.addresses import is_public
from ingrain.fetch.targets import Target, refused


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchPolicy:
    """Allowed hosts, and the limits of a fetch.

    Attributes:
        mode: ``off``, ``allowlist`` (only ``hosts``) or ``public``. The latter two allow public addresses only.
        hosts: Hosts that ``allowlist`` allows; ``*.example.com`` matches every name below ``example.com``.
        exceptions: ``(host, port)`` pairs that are allowed even with private addresses.
        connect_timeout_s: Timeout of name resolution with connecting, and of the TLS handshake.
        read_timeout_s: Timeout between two pieces of a response.
        total_timeout_s: Timeout of a whole fetch, including redirects.
        max_redirects: Limit of redirects per fetch.
        max_at_once: Limit of concurrent fetches of all requests together.
        ca_file: PEM file with certificate authorities to trust besides the public ones; None for none.
        off_by: The setting that has made ``mode`` ``off``, for errors.
    """

    mode: Literal["off", "allowlist", "public"] = "public"
    hosts: frozenset[str] = frozenset()
    exceptions: frozenset[tuple[str, int]] = frozenset()
    connect_timeout_s: float = 3.0
    read_timeout_s: float = 5.0
    total_timeout_s: float = 10.0
    max_redirects: int = 3
    max_at_once: int = 64
    ca_file: Path | None = None
    off_by: str = "INGRAIN_IMAGE_FETCH=off"

    def check(self, target: Target, *, param: str) -> None:
        """Check a target by its URL alone; ``GuardedNetwork`` checks the resolved addresses on connecting.

        Raises:
            FetchRefusedError: The policy forbids this target.
        """
        if self.mode == "off":
            raise refused(param, f"this server fetches no URLs ({self.off_by}); send the image itself")
        if self.excepts(target.host, target.port):
            return
        if self.mode == "allowlist" and not self._lists(target.host):
            raise refused(param, f"host {target.host!r} is not allowed on this server (INGRAIN_FETCH_HOSTS)")
        if _is_address(target.host) and not is_public(target.host):
            raise refused_address(param, target.host)

    def excepts(self, host: str, port: int) -> bool:
        """Return whether a host and port are allowed even with a private address."""
        return (host, port) in self.exceptions

    def _lists(self, host: str) -> bool:
        labels = host.split(".")
        return host in self.hosts or any("*." + ".".join(labels[cut:]) in self.hosts for cut in range(1, len(labels)))


def refused_address(param: str, host: str) -> Exception:
    """Build the error for an unknown or private host.

    The message is the same for both, so that callers cannot find out which internal names exist.
    """
    return refused(
        param,
        f"host {host!r} is unknown or has an address that is not public, which only INGRAIN_FETCH_ALLOW permits",
    )


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def read_exception(text: str) -> tuple[str, int]:
    """Parse an entry of INGRAIN_FETCH_ALLOW, ``host:port``.

    Raises:
        SettingsError: The text has another form.
    """
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]").lower()
    if not (colon and host and port.isascii() and port.isdecimal() and 1 <= int(port) <= 65535):
        raise SettingsError(
            f"INGRAIN_FETCH_ALLOW holds {text!r}, which is not of the form host:port.", param="INGRAIN_FETCH_ALLOW"
        )
    return host, int(port)
