"""A proxy in front of a server that, when asked, keeps the server full for one request, which then gets its 429."""

from __future__ import annotations

import http.client
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_HEAD = b"POST /embed_text HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\nContent-Length: 9\r\n\r\n"
_OWN_HEADERS = ("host", "connection", "transfer-encoding", "content-length", "date", "server")


class BusyProxy(ThreadingHTTPServer):
    """Forwards requests to a server on this machine.

    Args:
        port: Port of the server.
        key: API key of the server.
        max_requests: The server's INGRAIN_MAX_REQUESTS: so many requests without a body fill it.
    """

    daemon_threads = True

    def __init__(self, port: int, key: str, max_requests: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port, self.key, self.max_requests = port, key, max_requests
        self.is_armed = False
        self.arming = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Base URL of the proxy."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def disarm(self) -> bool:
        """Return whether the next request must meet a full server; only once for each time that it is asked for."""
        with self.arming:
            was_armed, self.is_armed = self.is_armed, False
        return was_armed

    def fill(self) -> list[socket.socket]:
        """Begin as many requests as the server takes, and send no bodies."""
        held = []
        for _ in range(self.max_requests):
            connection = socket.create_connection(("127.0.0.1", self.port))
            connection.sendall(_HEAD % self.key.encode())
            held.append(connection)
        return held


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: BusyProxy

    def _forward(self) -> None:
        if self.path == "/__make_busy__":
            self.server.is_armed = True
            self._answer(200, [], b"")
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        held = self.server.fill() if self.command == "POST" and self.server.disarm() else []
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _OWN_HEADERS}
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=120)
        try:
            while True:  # the server may not yet have read all the heads that fill it
                connection.request(self.command, self.path, body or None, headers)
                answer = connection.getresponse()
                content = answer.read()
                if not held or answer.status in (429, 503):
                    break
            self._answer(answer.status, answer.getheaders(), content)
        finally:
            connection.close()
            for one in held:
                one.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in _OWN_HEADERS:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = _forward  # noqa: N815 - the names of the base class

    def log_message(self, *_: object) -> None:
        """Print nothing."""
