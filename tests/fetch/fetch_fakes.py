"""Names that resolve to what a test wants, and an internet of one host."""

import ssl
from collections.abc import Sequence
from typing import Any

import httpcore

from ingrain.fetch.fetcher import Fetcher
from ingrain.fetch.policy import FetchPolicy
from picture_server import PictureServer

PUBLIC = "93.184.216.34"

_TLS = ssl.create_default_context()  # reading the authorities takes longer than most tests


def make_fetcher(policy: FetchPolicy | None = None, **more: Any) -> Fetcher:
    """Build a fetcher; what is not given is the real thing."""
    return Fetcher(policy or FetchPolicy(), **{"tls": _TLS, **more})


class FakeNames:
    """A resolver whose names answer what they are told to, the last answer for ever after."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self.answers = {name.replace("_", "."): list(each) for name, each in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        del port
        if ":" in host or host.replace(".", "").isdecimal():
            return [host]  # an address resolves to itself
        self.asked.append(host)
        if host not in self.answers:
            raise OSError("no such name")
        queue = self.answers[host]
        return queue.pop(0) if len(queue) > 1 else queue[0]


class PublicNetwork(httpcore.AsyncNetworkBackend):
    """The internet in small: every public address leads to one server on loopback, and every call is written down."""

    def __init__(self, server: PictureServer) -> None:
        self.server = server
        self.dialled: list[str] = []

    async def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None):  # noqa: ASYNC109
        self.dialled.append(host)
        return await httpcore.AnyIOBackend().connect_tcp("127.0.0.1", self.server.port, timeout)
