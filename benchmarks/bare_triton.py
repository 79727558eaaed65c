"""Measures Triton's own latency, by sending prepared requests to the server's tritonserver, one by one."""

from __future__ import annotations

import time
from collections.abc import Sequence

import grpc
import psutil

from ingrain.engine.triton.wire import encode_infer
from ingrain.preprocess.tokenized import TokenizedText, collate
from ingrain.repository.store import Entry

_TIMEOUT_S = 30.0
_ADDRESS, _PORT = "--grpc-address=", "--grpc-port="


class BareTriton:
    """A minimal client of Triton: sends prepared requests by blocking calls, and ignores the responses.

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
        channel = grpc.insecure_channel(_target_of(server))
        self._infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

    def latencies_s(self, seconds: float) -> list[float]:
        """Send one request after another, and return the latency of each."""
        found, until = [], time.perf_counter() + seconds
        while (started := time.perf_counter()) < until:
            self.run(self._next % len(self._messages))
            self._next += 1
            found.append(time.perf_counter() - started)
        return found

    def run(self, number: int) -> None:
        """Send the request of the text with this number, and wait for the response."""
        self._infer(self._messages[number], timeout=_TIMEOUT_S)


def _target_of(server: int) -> str:
    """Return the gRPC target of a server's tritonserver."""
    for child in psutil.Process(server).children():
        words = child.cmdline()
        addresses = [word.removeprefix(_ADDRESS) for word in words if word.startswith(_ADDRESS)]
        ports = [word.removeprefix(_PORT) for word in words if word.startswith(_PORT)]
        if addresses and ports:
            return f"{addresses[0]}:{ports[0]}"
    raise SystemExit("the server has no tritonserver")
