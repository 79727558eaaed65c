"""Binds the ports, and handles the signals that stop the server."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket

from ingrain.app.neighbour import is_ingrain
from ingrain.errors import SettingsError

_BACKLOG = 2048


def open_socket(host: str, port: int, setting: str) -> socket.socket:
    """Bind a port and listen on it.

    Raises:
        SettingsError: The port is in use, or the address does not belong to this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise SettingsError(_why_not(error, host, port, setting), param=setting) from error
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


def _why_not(error: OSError, host: str, port: int, setting: str) -> str:
    """Return why a port cannot be bound, and what to do."""
    if isinstance(error, socket.gaierror):
        return (
            f"INGRAIN_HOST is {host!r}, which is no address: it must be one, or a host name, without scheme and port."
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"INGRAIN_HOST is {host!r}, which is no address of this machine. 0.0.0.0 means every one that it has."
    what = f"Cannot listen on {host}:{port} ({error.strerror})."
    if error.errno == errno.EADDRINUSE:
        holder = "Another Ingrain" if is_ingrain(host, port, "http", "https") else "Another program"
        what = f"{holder} listens on {host}:{port}. Stop it, or give this server another port."
    return f"{what} The port is set by {setting}."


def end_on_signals() -> None:
    """End this process with the exit status 0 on SIGTERM or SIGHUP, as long as nothing is served."""

    def end(*_: object) -> None:
        raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, end)


def stop_on_signals(stop: asyncio.Event, hurry: asyncio.Event) -> None:
    """Set ``stop`` on the first SIGTERM, SIGINT or SIGHUP, and ``hurry`` on the second one.

    SIGHUP, which the end of a terminal sends, stays ignored if it is: nohup has asked for that.
    """
    loop = asyncio.get_running_loop()
    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)

    def handle() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in numbers:
        loop.add_signal_handler(number, handle)
