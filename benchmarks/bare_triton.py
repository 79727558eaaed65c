"""Measures Triton's own latency, by sending prepared requests to the server's tritonserver, one by one."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence

import psutil

from ingrain.engine.triton import http2
from ingrain.engine.triton.http2 import Kind
from ingrain.engine.triton.wire import encode_infer
from ingrain.preprocess.tokenized import TokenizedText, collate
from ingrain.repository.store import Entry

_TIMEOUT_S = 30.0
_ADDRESS, _PORT = "--grpc-address=unix:", "--grpc-port="
_HEADERS = http2.encode_headers(
    [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/inference.GRPCInferenceService/ModelInfer"),
        (":authority", "localhost"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ]
)


class BareTriton:
    """A minimal client of Triton: sends prepared requests on a blocking socket, and ignores the responses.

    Args:
        server: Process id of a server with the embedded Triton that has the model loaded.
        entry: The published model.
        items: Tokenized texts; each becomes a request with ``alone=True``.
    """

    def __init__(self, server: int, entry: Entry, items: Sequence[TokenizedText]) -> None:
        graph = entry.manifest.graphs[0]
        inputs = [tensor.name for tensor in graph.inputs]
        arrays = [collate([item], entry.manifest.text, inputs) for item in items]
        self._messages = [encode_infer(graph.name, one, alone=True) for one in arrays]
        self._next = 0
        self._stream = 1
        self._reader = http2.FrameReader()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_TIMEOUT_S)
        self._socket.connect(_socket_of(server))
        self._socket.sendall(http2.greeting())

    def latencies_s(self, seconds: float) -> list[float]:
        """Send one request after another, and return the latency of each."""
        found, until = [], time.perf_counter() + seconds
        while (started := time.perf_counter()) < until:
            self._call(self._messages[self._next % len(self._messages)])
            self._next += 1
            found.append(time.perf_counter() - started)
        return found

    def _call(self, message: bytes) -> None:
        stream, self._stream = self._stream, self._stream + 2
        body = b"\0" + len(message).to_bytes(4, "big") + message
        head = http2.frame(Kind.HEADERS, http2.END_HEADERS, stream, _HEADERS)
        self._socket.sendall(head + http2.frame(Kind.DATA, http2.END_STREAM, stream, body))
        while not self._has_ended(self._socket.recv(1 << 16)):
            pass

    def _has_ended(self, data: bytes) -> bool:
        if not data:
            raise SystemExit("tritonserver closed the connection")
        has_ended = False
        for kind, flags, _, payload in self._reader.feed(data):
            if kind == Kind.HEADERS and flags & http2.END_STREAM:
                status = http2.decode_headers(payload)["grpc-status"]
                if status != "0":
                    raise SystemExit(f"Triton answered with gRPC status {status}")
                has_ended = True
            elif kind in (Kind.RST_STREAM, Kind.GOAWAY):
                raise SystemExit("tritonserver cancelled a call")
            elif kind in (Kind.SETTINGS, Kind.PING) and not flags & http2.ACK:
                reply = payload if kind == Kind.PING else b""
                self._socket.sendall(http2.frame(Kind(kind), http2.ACK, 0, reply))
        return has_ended


def _socket_of(server: int) -> str:
    """Return the path of the UNIX socket on which a server's tritonserver listens."""
    for child in psutil.Process(server).children():
        words = child.cmdline()
        paths = [word.removeprefix(_ADDRESS) for word in words if word.startswith(_ADDRESS)]
        ports = [word.removeprefix(_PORT) for word in words if word.startswith(_PORT)]
        if paths and ports:
            return f"{paths[0]}:{ports[0]}"
    raise SystemExit("the server has no tritonserver on a UNIX socket")
