"""Two HTTP servers in one event loop, ended together by one signal."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Generator

import uvicorn
from starlette.types import ASGIApp

from ingrain.errors import SettingsError

_BACKLOG = 2048


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


async def serve_apps(apps: list[tuple[ASGIApp, socket.socket]], stop: asyncio.Event, grace_s: float) -> None:
    """Serve until ``stop`` is set, then let running requests finish for ``grace_s`` seconds."""
    servers = [
        (
            _Server(
                uvicorn.Config(
                    app,
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
