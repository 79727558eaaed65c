"""Opens connections for the fetcher: resolves a name once, checks all addresses, and connects to a checked one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence

import httpcore

from ingrain.fetch.addresses import is_public
from ingrain.fetch.policy import FetchPolicy

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a host name, best first; raises OSError if there are none."""

_MAX_ADDRESSES_TRIED = 3


class NotPublicError(Exception):
    """A host has no address, or has an address that is not public."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """Resolve a host name with the system's resolver, in a thread.

    Raises:
        OSError: The name has no address.
        UnicodeError: The name cannot be encoded.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Network backend of httpcore that connects only to checked addresses.

    httpcore still sends the host name in the ``Host`` header and in SNI.

    Args:
        policy: Lists the hosts whose addresses need not be public.
        resolver: Resolves host names; by default the system's resolver.
        inner: Opens connections to checked addresses; by default TCP.
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
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore defines the interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to an address of the host, if all of its addresses are public.

        Raises:
            NotPublicError: An address is not public, or there is none.
            httpcore.ConnectError: No address accepted the connection.
            httpcore.ConnectTimeout: The timeout was exceeded.
        """
        try:
            async with asyncio.timeout(timeout):
                addresses = (await self._checked_addresses(host, port))[:_MAX_ADDRESSES_TRIED]
                for left, address in zip(range(len(addresses) - 1, -1, -1), addresses, strict=True):
                    # Split the timeout, so that an address that never responds leaves time for the next address.
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
        """Sleep; the pool of httpcore calls this between connection attempts."""
        await asyncio.sleep(seconds)
