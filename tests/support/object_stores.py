"""An S3 server in this process, and a proxy before it that can be cut."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@contextmanager
def s3_server() -> Iterator[str]:
    """Run moto's S3 server on a free port of the loopback interface; yield its URL."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@dataclass
class CuttableProxy:
    """Passes connections on to a port, until one of them has sent ``cut_after`` bytes: that one is reset.

    ``is_down`` resets every new connection at once.
    """

    port: int
    cut_after: int | None = None
    is_down: bool = False
    cuts: int = field(default=0, init=False)

    @contextmanager
    def running(self) -> Iterator[str]:
        """Run the proxy on a free port; yield its URL."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                listener.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                if self.is_down:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self.port))
                for source, target, is_upload in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pass_on, args=(source, target, is_upload), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, is_upload: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while piece := source.recv(16384):
                passed += len(piece)
                if is_upload and self.cut_after is not None and passed > self.cut_after:
                    self.cuts += 1
                    break
                if self.is_down:
                    break
                target.sendall(piece)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
