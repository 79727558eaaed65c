"""Opens the fetcher's connections: resolves a name once, checks its addresses, and connects to one of these only."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence

import httpcore

from ingrain.fetch.addresses import is_public
from ingrain.fetch.policy import FetchPolicy

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a name, best first; raises OSError if there are none."""

_MAX_ADDRESSES_TRIED = 3


class NotPublicError(Exception):
    """A name has no address, or one that is not public."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """Ask the system's resolver, off the event loop.

    Raises:
        OSError: The name has no address.
        UnicodeError: The name cannot be encoded.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """httpcore's network with checked addresses; the ``Host`` header and SNI still hold the name.

    Args:
        policy: Names the hosts whose addresses need not be public.
        resolver: Resolves names; the system's unless given.
        inner: Opens connections; TCP unless given.
    """

    def __init__(
        self, policy: FetchPolicy, resolver: Resolver = resolve, inner: httpcore.AsyncNetworkBackend | None = None
    ) -> None:
        self._policy = policy
        self._resolver = resolver
        self._inner = inner or httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to an address of the host, if every one of them is public.

        Raises:
            NotPublicError: One is not, or there is none.
            httpcore.ConnectError: None of them accepted the connection.
            httpcore.ConnectTimeout: The timeout was exceeded.
        """
        try:
            async with asyncio.timeout(timeout):
                addresses = (await self._checked_addresses(host, port))[:_MAX_ADDRESSES_TRIED]
                for left, address in zip(range(len(addresses) - 1, -1, -1), addresses, strict=True):
                    # An address that never answers must leave time for the next one.
                    share = None if timeout is None else timeout / (left + 1)
                    try:
                        return await self._inner.connect_tcp(address, port, share, local_address, socket_options)
                    except (httpcore.ConnectError, httpcore.ConnectTimeout):
                        if not left:
                            raise
        except TimeoutError as error:
            raise httpcore.ConnectTimeout from error
        raise NotPublicError

    async def _checked_addresses(self, host: str, port: int) -> Sequence[str]:
        try:
            addresses = await self._resolver(host, port)
        except (OSError, UnicodeError) as error:
            raise NotPublicError from error
        if not addresses or not (self._policy.excepts(host, port) or all(map(is_public, addresses))):
            raise NotPublicError
        return addresses

    async def sleep(self, seconds: float) -> None:
        """Wait; the pool calls this between attempts."""
        await asyncio.sleep(seconds)
