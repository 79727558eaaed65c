"""Fetches URLs under a policy. Ingrain reads every URL that a caller chooses through this module."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import anyio
import httpcore

from ingrain import __version__
from ingrain.errors import FetchFailedError, RepositoryError, TooLargeError
from ingrain.fetch.network import GuardedNetwork, GuardedStream, NotPublicError, Resolver, resolve
from ingrain.fetch.policy import FetchPolicy, refused_address
from ingrain.fetch.targets import Target, refused
from ingrain.fetch.tls import client_context, why_refused
from ingrain.machine_faults import machine_fault

Sink = Callable[[bytes], Awaitable[None]]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_WRITE_BYTES = 4 * 1024 * 1024
# Parsing a piece takes about 20 µs, however small it is, and up to 64 fetches (by default) have a turn each in between.
_PIECES_A_TURN, _MANY_PIECES, _LEAST_PIECE_BYTES = 4, 250, 64
_PAUSE_S = 0.02  # after a turn of tiny pieces, so that a host that sends nothing else takes a part of a core, not all
_BROKEN = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.UnsupportedProtocol,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    OSError,  # httpcore does not wrap TLS errors in the middle of a response
    ValueError,  # from decoding a header or a host name
)


class Fetcher:
    """Sends GET requests under one policy. Belongs to one event loop; keeps idle connections for two seconds.

    Args:
        policy: Allowed hosts and limits.
        resolver: Resolves host names; by default the system's resolver.
        network: Opens connections to checked addresses; by default TCP.
        tls: SSL context with the trusted certificate authorities; by default the public ones and the policy's.

    Raises:
        SettingsError: The policy's file of authorities cannot be used.
    """

    def __init__(
        self,
        policy: FetchPolicy,
        *,
        resolver: Resolver = resolve,
        network: httpcore.AsyncNetworkBackend | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.policy = policy
        self._at_once = asyncio.Semaphore(policy.max_at_once)
        # A client of httpx would add proxies, cookies, redirects, authentication and decompression.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls or client_context(policy.ca_file),
            max_connections=policy.max_at_once,
            max_keepalive_connections=16,
            keepalive_expiry=2.0,
            network_backend=GuardedNetwork(policy, resolver, network),
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    async def fetch(
        self,
        url: str,
        *,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
        param: str = "url",
    ) -> bytes:
        """Fetch a URL and return the response body.

        Args:
            url: An http or https URL.
            max_bytes: Limit of the body.
            headers: Request headers that ``check_download_headers`` has checked. Redirects to other hosts drop them.
            param: Path of the field that contains the URL, for errors.

        Raises:
            FetchRefusedError: The URL is malformed, or the policy forbids it or a redirect.
            FetchFailedError: The host is unreachable or too slow, or returned an error.
            TooLargeError: The body is longer than ``max_bytes``.
        """
        pieces: list[bytes] = []

        async def keep(piece: bytes) -> None:
            pieces.append(piece)

        await self._transfer(url, keep, max_bytes, headers or {}, param, self.policy.total_timeout_s)
        return b"".join(pieces)

    async def fetch_to_file(
        self,
        url: str,
        path: Path,
        *,
        max_bytes: int,
        param: str = "url",
        timeout_s: float | None = None,
    ) -> None:
        """Fetch a URL into a new file; remove the file if the fetch fails.

        Args:
            url: An http or https URL.
            path: The new file.
            max_bytes: Limit of the body.
            param: Path of the field that contains the URL, for errors.
            timeout_s: Timeout of the whole fetch; the policy's if None.

        Raises:
            FileExistsError: The file exists already; it is not changed.
            MachineError: The disk is full or not writable.
            RepositoryError: The file cannot be written for another reason.
            FetchRefusedError, FetchFailedError, TooLargeError: As for :meth:`fetch`.
        """
        file = await asyncio.to_thread(open, path, "xb", _WRITE_BYTES)

        async def write(piece: bytes) -> None:
            try:
                await asyncio.to_thread(file.write, piece)
            except OSError as error:
                raise machine_fault(error) or _unwritable() from error

        try:
            await self._transfer(url, write, max_bytes, {}, param, timeout_s or self.policy.total_timeout_s)
            await asyncio.to_thread(file.close)
        except OSError as error:  # flushing the buffer failed
            _discard(file, path)
            raise machine_fault(error) or _unwritable() from error
        except BaseException:  # cancellation included
            _discard(file, path)
            raise

    async def _transfer(
        self, url: str, sink: Sink, max_bytes: int, headers: Mapping[str, str], param: str, timeout_s: float
    ) -> None:
        """Fetch a URL within the timeout, pass the body to ``sink``, and translate errors of the HTTP library."""
        target = Target.parse(url, param=param)
        self.policy.check(target, param=param)
        async with self._at_once:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._follow(target, sink, max_bytes, headers, param)
            except TimeoutError as error:
                raise _failed(param, f"it took longer than {timeout_s:g} seconds") from error
            except httpcore.TimeoutException as error:
                raise _failed(param, f"host {target.host!r}, or a host that it redirects to, is too slow") from error
            except _BROKEN as error:
                if why := why_refused(error):
                    certificate = f"the TLS certificate of host {target.host!r}, or of a host that it redirects to"
                    raise _failed(param, f"{certificate}, is refused: {why}") from error
                raise _failed(param, f"host {target.host!r}, or a host that it redirects to, broke off") from error

    async def _follow(self, first: Target, sink: Sink, max_bytes: int, headers: Mapping[str, str], param: str) -> None:
        target, may_send = first, True
        for _ in range(self.policy.max_redirects + 1):
            location = await self._visit(target, sink, max_bytes, headers if may_send else {}, param)
            if location is None:
                return
            target = target.redirected(location, param=param)
            self.policy.check(target, param=param)
            # Dropped headers stay dropped, even if a later redirect leads back to the first host.
            may_send = may_send and target.keeps_headers_of(first)
        raise refused(param, f"it redirects more than {self.policy.max_redirects} times")

    async def _visit(
        self, target: Target, sink: Sink, max_bytes: int, headers: Mapping[str, str], param: str
    ) -> str | None:
        """Send one request. Pass the body to ``sink``, or return the location of a redirect."""
        seconds = {"connect": self.policy.connect_timeout_s, "read": self.policy.read_timeout_s}
        timeout = {**seconds, "write": self.policy.read_timeout_s, "pool": self.policy.total_timeout_s}
        request_headers = {
            "Host": target.url.netloc.decode("ascii"),
            "Accept": "*/*",
            "User-Agent": f"ingrain/{__version__}",
            **headers,
            "Accept-Encoding": "identity",
        }
        try:
            async with self._pool.stream(
                "GET",
                target.origin_url,
                headers=[(name.encode("ascii"), value.encode("ascii")) for name, value in request_headers.items()],
                extensions={"timeout": timeout},
            ) as response:
                stream = response.extensions["network_stream"]
                assert isinstance(stream, GuardedStream)
                stream.end_head()
                fields = {name.lower(): value for name, value in response.headers}
                if response.status in _REDIRECTS and b"location" in fields:
                    return fields[b"location"].decode("utf-8")
                _check_answer(response.status, fields, target, max_bytes, param)
                received = pieces = 0
                async for piece in response.aiter_stream():
                    received += len(piece)
                    pieces += 1
                    if received > max_bytes:
                        raise _too_large(param, max_bytes)
                    if pieces > _MANY_PIECES and received < pieces * _LEAST_PIECE_BYTES:
                        raise _failed(param, f"host {target.host!r} sent its body in pieces of too few bytes")
                    await sink(piece)
                    if pieces % _PIECES_A_TURN == 0:  # the event loop gets no turn while pieces lie in the buffer
                        await asyncio.sleep(_PAUSE_S if received < pieces * _LEAST_PIECE_BYTES else 0)
        except NotPublicError as error:
            raise refused_address(param, target.host) from error
        return None


def _discard(file: BinaryIO, path: Path) -> None:
    try:
        file.close()
    except OSError:
        pass  # flushing to a full disk fails again; the file is removed below
    path.unlink(missing_ok=True)


def _check_answer(status: int, fields: Mapping[bytes, bytes], target: Target, max_bytes: int, param: str) -> None:
    if status != 200:
        raise _failed(param, f"host {target.host!r} answered with status {status}", httpStatus=status)
    if fields.get(b"content-encoding", b"identity").strip().lower() not in (b"identity", b""):
        # Not accepted, because a few kilobytes may decompress to gigabytes.
        raise _failed(param, f"host {target.host!r} sent a compressed body although the request does not accept it")
    length = fields.get(b"content-length", b"0")
    if length.isdigit() and (len(length) > 18 or int(length) > max_bytes):
        raise _too_large(param, max_bytes)


def _unwritable() -> RepositoryError:
    return RepositoryError("A downloaded file could not be written to disk.")


def _failed(param: str, why: str, **facts: object) -> FetchFailedError:
    return FetchFailedError(f"{param} could not be fetched: {why}.", param=param, facts=facts)


def _too_large(param: str, max_bytes: int) -> TooLargeError:
    return TooLargeError(f"{param} is larger than {max_bytes} bytes.", param=param, facts={"limit": max_bytes})
