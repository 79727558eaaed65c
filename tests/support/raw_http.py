"""Both planes in a thread of their own, and requests given as bytes on a fresh connection each."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ingrain.settings import Settings
from planes import running_planes

WAIT_S = 30.0


@dataclass(frozen=True)
class Reply:
    """One answer from the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict:
        return json.loads(self.body)["error"]


@contextmanager
def planes_in_a_thread(root: Path, settings: Settings | None = None, key: str = "none") -> Iterator[dict[str, int]]:
    """Run both planes with a text model and a CLIP model, loaded with a key, and yield their ports by plane."""
    ports: dict[str, int] = {}
    ready, loops = threading.Event(), []

    async def serve() -> None:
        stop = asyncio.Event()
        loops.append((asyncio.get_running_loop(), stop))
        async with running_planes(root, settings) as planes:
            planes.model.headers["authorization"] = f"Bearer {key}"
            await planes.load()
            await planes.load("clip", "open_clip")
            ports.update(inference=planes.inference.base_url.port, model=planes.model.base_url.port)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(WAIT_S)
        yield ports
    finally:
        loop, stop = loops[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def ask(port: int, request: bytes) -> Reply:
    """Send a request that ends its connection, and return the answer to it."""
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as connection:
        connection.sendall(request)
        said = b""
        while piece := connection.recv(65_536):
            said += piece
    head, _, body = said.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    fields = (line.partition(": ") for line in lines[1:])
    return Reply(int(lines[0].split()[1]), {name.lower(): value for name, _, value in fields}, body)


def request(method: str, path: str, *headers: str, body: bytes = b"", host: str | None = "localhost") -> bytes:
    """Build a request that asks the server to close the connection."""
    lines = [f"{method} {path} HTTP/1.1", *([f"Host: {host}"] if host is not None else []), *headers]
    if body or method in ("POST", "DELETE", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(body)}")
    lines.append("Connection: close")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
