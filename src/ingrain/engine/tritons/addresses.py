"""Reads the addresses in ``TRITON_GRPC_URL``, and finds out behind which of them there are several Tritons."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from ingrain.errors import SettingsError

logger = logging.getLogger(__name__)

_SETTING = "TRITON_GRPC_URL"
_LOOKUP_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Target:
    """One entry of the setting.

    Attributes:
        text: What gRPC connects to: ``host:port``, ``[address]:port``, or ``unix:`` and a path.
        host: A name that may have several addresses; None for an address.
        port: Port behind the name.
    """

    text: str
    host: str | None = None
    port: int = 0


Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a name and a port, each as ``address:port``; raises OSError if it has none."""


def read_targets(setting: str) -> tuple[Target, ...]:
    """Return the entries of the setting, each once.

    A single entry may be anything that gRPC takes.

    Raises:
        SettingsError: An entry is the URL of an HTTP server, or one of several is not ``host:port``.
    """
    texts = [part.strip().removeprefix("grpc://").rstrip("/") for part in setting.split(",")]
    for text in texts:
        if text.lower().startswith(("http://", "https://")):
            raise SettingsError(
                f"{_SETTING} is {text[:100]!r}; it must be `host:port` of Triton's gRPC port, which is mostly 8001.",
                param=_SETTING,
            )
    targets = [_read(text) for text in texts]
    if len(targets) == 1 and targets[0] is None:
        return (Target(texts[0]),)
    for text, target in zip(texts, targets, strict=True):
        if target is None:
            raise SettingsError(
                f"{_SETTING} has the entry {text[:100]!r}; each of several, separated by commas, must be `host:port`.",
                param=_SETTING,
            )
    return tuple(dict.fromkeys(target for target in targets if target is not None))


def _read(text: str) -> Target | None:
    """Return an entry; None if it is not ``host:port``."""
    if text.startswith("unix:"):
        return Target(text)
    host, _, port = text.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    if not host or "/" in host or (":" in host and not is_bracketed):
        return None
    if not (port.isdecimal() and 0 < int(port) < 65536):
        return None
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None if is_bracketed else Target(text, host, int(port))
    return Target(text)


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a name: those of IPv4, or of IPv6 if there are no others.

    A server with addresses of both kinds must not count twice.

    Raises:
        OSError: The name has no address, or the name server did not answer in time.
    """
    async with asyncio.timeout(_LOOKUP_TIMEOUT_S):
        lines = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = {family: sorted({str(line[4][0]) for line in lines if line[0] == family}) for family, *_ in lines}
    if socket.AF_INET in addresses:
        return [f"{address}:{port}" for address in addresses[socket.AF_INET]]
    return [f"[{address}]:{port}" for address in addresses.get(socket.AF_INET6, [])]


class Addresses:
    """The addresses of all Tritons, which may change where a name stands for them.

    A name that has never had more than one address is an address itself: gRPC looks it up whenever it connects, so a
    Triton behind it may move. The addresses of a name that cannot be looked up stay what they were.

    Args:
        targets: The entries of the setting.
        resolve: Looks names up.
    """

    def __init__(self, targets: Sequence[Target], resolve: Resolve = resolve) -> None:
        self._targets = targets
        self._resolve = resolve
        self._found: dict[Target, tuple[str, ...]] = {target: (target.text,) for target in targets}
        self._with_several: set[Target] = set()
        self._told = ""

    @property
    def may_change(self) -> bool:
        """Whether there are names to look up."""
        return any(target.host is not None for target in self._targets)

    async def look(self) -> list[str]:
        """Look all names up, and return the addresses in the order of the setting, each once."""
        await asyncio.gather(*(self._look(target, target.host) for target in self._targets if target.host is not None))
        return list(dict.fromkeys(address for target in self._targets for address in self._found[target]))

    async def _look(self, target: Target, host: str) -> None:
        try:
            found = tuple(await self._resolve(host, target.port))
        except (OSError, UnicodeError) as error:
            if self._told != host:
                logger.warning("The addresses of %r cannot be looked up now: %s", host, error or type(error).__name__)
                self._told = host
            return
        if self._told == host:
            self._told = ""
        if len(found) > 1:
            self._with_several.add(target)
        if found and target in self._with_several:
            self._found[target] = found
