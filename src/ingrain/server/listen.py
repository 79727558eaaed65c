"""Two HTTP servers in one event loop, ended together by one signal."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Generator

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ingrain.errors import SettingsError

_BACKLOG = 2048
_READ_BYTES = 262_144
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class _Server(uvicorn.Server):
    """A server that leaves the signals to ``stop_on_signals``, because there are two of it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def open_socket(host: str, port: int, setting: str) -> socket.socket:
    """Bind a port before anything else is started.

    Raises:
        SettingsError: The port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"Cannot listen on {host}:{port} ({error.strerror}). Choose another port with {setting}.", param=setting
        ) from error
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


def _bounded_protocol(max_header_bytes: int) -> type[HttpToolsProtocol]:
    """Return uvicorn's protocol with a bound on the request line and headers, which its parser has none for."""

    class BoundedProtocol(HttpToolsProtocol):
        in_head = True
        head_bytes = 0

        def data_received(self, data: bytes) -> None:
            if self.in_head:
                self.head_bytes += len(data)
                # One read may hold the end of the headers and much of the body.
                if self.head_bytes > max_header_bytes + _READ_BYTES:
                    self.transport.write(_TOO_LARGE)
                    self.transport.close()
                    return
            super().data_received(data)

        def on_headers_complete(self) -> None:
            self.in_head = False
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self.in_head, self.head_bytes = True, 0
            super().on_message_complete()

    return BoundedProtocol


async def serve_apps(
    apps: list[tuple[ASGIApp, socket.socket]],
    stop: asyncio.Event,
    grace_s: float,
    *,
    max_header_bytes: int = 65_536,
) -> None:
    """Serve until ``stop`` is set, then let running requests finish for ``grace_s`` seconds.

    Args:
        apps: Applications and the sockets they listen on.
        stop: Ends all of them.
        grace_s: Seconds that running requests have.
        max_header_bytes: Longest request line and headers; a caller with longer ones gets 431 and is cut off.
    """
    servers = [
        (
            _Server(
                uvicorn.Config(
                    app,
                    http=_bounded_protocol(max_header_bytes),
                    lifespan="off",
                    log_config=None,
                    access_log=False,
                    server_header=False,
                    proxy_headers=False,  # nothing here asks where a request came from
                    timeout_graceful_shutdown=max(1, round(grace_s)),
                )
            ),
            listener,
        )
        for app, listener in apps
    ]
    running = [asyncio.create_task(server.serve(sockets=[listener])) for server, listener in servers]
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([stopping, *running], return_when=asyncio.FIRST_COMPLETED)
    for server, _ in servers:
        server.should_exit = True
    stopping.cancel()
    await asyncio.gather(*running)


def stop_on_signals(stop: asyncio.Event) -> None:
    """Set ``stop`` on SIGINT and SIGTERM."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
