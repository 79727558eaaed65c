"""Opens connections for the fetcher: resolves a name once, checks all addresses, and connects to a checked one."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import httpcore

from ingrain.fetch.addresses import is_public
from ingrain.fetch.policy import FetchPolicy

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a host name, best first; raises OSError if there are none."""

_MAX_ADDRESSES_TRIED = 3
_MOST_HEAD_BYTES = 65_536
_HEAD_READ_BYTES = 2048
_MOST_HEADS = 128


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


class GuardedStream(httpcore.AsyncNetworkStream):
    """A connection that bounds what comes before the body of a response, interim responses (103) included.

    httpcore takes any number of interim responses, and parses all that one read returns without giving the event loop
    a turn. So reads are short until ``end_head`` is called, and fail once too many bytes or responses have come. The
    next request, which is a write, starts over.
    """

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        self._left_of_head: int | None = _MOST_HEAD_BYTES
        self._left_heads = _MOST_HEADS

    def end_head(self) -> None:
        """Remove the bound, because the response's head has been read."""
        self._left_of_head = None

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - as httpcore's
        """Read at most so many bytes.

        Raises:
            httpcore.RemoteProtocolError: The head of the response is too long, or has too many interim responses.
        """
        if self._left_of_head is None:
            return await self._inner.read(max_bytes, timeout)
        data = await self._inner.read(min(max_bytes, _HEAD_READ_BYTES), timeout)
        self._left_of_head -= len(data)
        self._left_heads -= data.count(b"\r\n\r\n")
        if self._left_of_head < 0 or self._left_heads < 0:
            raise httpcore.RemoteProtocolError("The head of the response is too long.")
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as httpcore's
        """Write a request."""
        self._left_of_head, self._left_heads = _MOST_HEAD_BYTES, _MOST_HEADS
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as httpcore's
    ) -> httpcore.AsyncNetworkStream:
        """Start TLS; return the connection to use from now on."""
        return GuardedStream(await self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        """Return information about the connection."""
        return self._inner.get_extra_info(info)


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
                        return GuardedStream(
                            await self._inner.connect_tcp(address, port, share, local_address, socket_options)
                        )
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
