"""Measures one client with texts of mixed lengths: the same texts on the server, on Triton alone, on the bare graph.

Everything takes the same few texts in turn, so that the sums of times can be compared although texts differ by a factor
of fifty. The bare graph runs on all cores, in its faster setting: threads that sleep or threads that spin. The report
splits the time of the server with the embedded Triton by stage.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import socket
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bare import median, open_sessions, tokenize
from bare_triton import BareTriton
from ingrain.bench.load import http_request
from ingrain.bench.texts import make_texts
from ingrain.preprocess.tokenized import collate
from ingrain.repository.names import model_key
from ingrain.repository.store import Repository
from measure import CORES, StolenTime, common_options, print_report, run_facts
from server import running_server

_BLOCK = 10
_WARM_UP_BLOCKS = 12
_PAUSE_S = 0.02
_ENGINES = ("embedded", "onnxruntime")
SPINNING = "bare, spinning"
SLEEPING = "bare, sleeping"

Way = Callable[[int], object]
"""Computes the text with this number."""


class Client:
    """One connection that sends one request after another."""

    def __init__(self, port: int, requests: list[bytes]) -> None:
        self._requests = requests
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __call__(self, number: int) -> None:
        self._socket.sendall(self._requests[number])
        answer = self._read()
        while b"\r\n\r\n" not in answer:
            answer += self._read()
        end = answer.index(b"\r\n\r\n") + 4
        head = answer[:end].lower()
        if not head.startswith(b"http/1.1 200"):
            raise SystemExit(f"the server answered {head[9:12].decode()}")
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        missing = end + length - len(answer)
        while missing > 0:
            missing -= len(self._read())

    def _read(self) -> bytes:
        data = self._socket.recv(1 << 16)
        if not data:
            raise SystemExit("the server closed the connection")
        return data


def main() -> None:
    options = _options()
    repository = Repository(options.repository.resolve())
    texts = make_texts(options.mix, options.texts, seed=100)
    with contextlib.ExitStack() as stack:
        servers = {
            engine: stack.enter_context(
                running_server(options.repository, options.models_dir, options.model, INGRAIN_ENGINE=engine)
            )
            for engine in options.engines
        }
        entry = repository.find(model_key(options.model, "sentence_transformers"))
        assert entry is not None
        items = tokenize(entry, texts)
        requests = [http_request("/embed_text", {"name": options.model, "text": text}) for text in texts]
        graph = entry.manifest.graphs[0]
        inputs = [tensor.name for tensor in graph.inputs]
        batches = [collate([item], entry.manifest.text, inputs) for item in items]
        ways: dict[str, Way] = {}
        for name, spinning in ((SPINNING, True), (SLEEPING, False)):
            (session,) = open_sessions(repository.locate_graph(graph), sessions=1, threads=CORES, spinning=spinning)
            ways[name] = lambda number, session=session: session.run(None, batches[number])
        for engine, server in servers.items():
            ways[engine] = Client(server.inference_port, requests)
            if engine == "embedded":
                ways["triton"] = BareTriton(server.process.pid, entry, items).run
        report = measure(ways, [len(item) for item in items], options.seconds)
    facts = {"mix": options.mix, "meanTokens": round(sum(map(len, items)) / len(items), 1)}
    print_report({**run_facts(options.model), **facts, **report}, options.output)


def _options() -> argparse.Namespace:
    parser = common_options(__doc__, model="all-MiniLM-L6-v2", clients=1, seconds=60.0, rounds=0)
    parser.add_argument("--mix", choices=["query", "constant", "news", "lognormal"], default="lognormal")
    parser.add_argument("--texts", type=int, default=2_000)
    parser.add_argument("--engines", nargs="+", choices=_ENGINES, default=list(_ENGINES))
    return parser.parse_args()


def measure(ways: dict[str, Way], lengths: list[int], seconds: float) -> dict[str, Any]:
    """Compute blocks of texts each way in turn for so many seconds.

    Args:
        ways: Functions to compare, by name; among them the two bare ones.
        lengths: Tokens of each text.
        seconds: Duration.

    Returns:
        Times, ratios to the faster bare way, and the time that each way adds to it, as a constant and a part per token.
    """
    times: dict[str, list[float]] = {name: [] for name in ways}
    tokens: list[int] = []
    stolen, until = StolenTime(), time.monotonic() + seconds
    order, start = list(ways), 0
    while time.monotonic() < until:
        block = [number % len(lengths) for number in range(start, start + _BLOCK)]
        is_warm = start >= _WARM_UP_BLOCKS * _BLOCK
        start += _BLOCK
        random.shuffle(order)
        for name in order:
            took = _time(ways[name], block)
            if is_warm:
                times[name].append(took)
            time.sleep(_PAUSE_S)  # lets spinning threads go to sleep before the next measurement
        if is_warm:
            tokens.append(sum(lengths[number] for number in block))
    per_text = {name: 1e3 * np.array(found) / _BLOCK for name, found in times.items()}
    bare = min((SPINNING, SLEEPING), key=lambda name: sum(times[name]))
    report: dict[str, Any] = {"texts": len(tokens) * _BLOCK, "stealShare": round(stolen.share(), 3), "ways": {}}
    for name, found in per_text.items():
        token_ms, text_ms = np.polyfit(np.array(tokens) / _BLOCK, found - per_text[bare], 1)
        report["ways"][name] = {
            "msPerText": round(found.mean(), 2),
            "ratioToBare": round(per_text[bare].mean() / found.mean(), 3),
            "medianRatioToBare": round(median(per_text[bare] / found), 3),
            "addsMsPerText": round(text_ms, 2),
            "addsUsPerToken": round(1e3 * token_ms, 1),
        }
    return report


def _time(way: Way, block: list[int]) -> float:
    began = time.perf_counter()
    for number in block:
        way(number)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
