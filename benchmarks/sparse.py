"""Compares sparse vectors of texts with a server on FastAPI and ``SparseEncoder``, and with bare ONNX Runtime, in turn.

``timesPlain`` is the ratio of requests a second. ``outsideTheGraph`` is the share of the time that is not spent in the
graph: one less the ratio to bare ONNX Runtime, which gets the texts tokenized and sorted by length, with the load
generator's share of the cores counted out. Both servers have all cores; the one without load is idle. FastAPI and
uvicorn must be installed (``pip install fastapi uvicorn``).
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from bare import Rate, best_bare_graph, median, tokenize
from ingrain.bench.load import Target, closed_loop, http_request
from ingrain.bench.texts import Mix, make_texts
from ingrain.repository.names import model_key
from ingrain.repository.store import Repository
from measure import Meter, common_options, print_report, run_loop
from server import free_ports, running_server

_START_S = 300.0
_BATCHES = (4, 8, 16, 32)


def main() -> None:
    options = _options()
    texts = make_texts(options.mix, options.texts)
    requests = [http_request("/embed_sparse", {"name": options.model, "text": text}) for text in texts]
    plain_requests = [http_request("/embed_sparse", {"text": text}) for text in texts]
    repository = Repository(options.repository.resolve())
    with (
        running_server(options.repository, options.models_dir, options.model) as server,
        _plain_server(options.models_dir / options.model) as port,
    ):
        entry = repository.find(model_key(options.model, "sentence_transformers"))
        assert entry is not None
        items = tokenize(entry, texts)
        bare = best_bare_graph(entry, repository, items, _BATCHES)
        meter = Meter(server, options.model, requests, clients=options.clients, seconds=options.seconds)
        rates: list[Rate] = []
        ratios: list[float] = []
        for number in range(options.rounds):
            served = meter.run()
            loop = closed_loop(
                Target("127.0.0.1", port), plain_requests, clients=options.clients, seconds=options.seconds
            )
            plain = run_loop(loop).steady_requests_per_s(0.0)
            rates.append(bare.rate_of_whole_passes(options.seconds))
            ratios.append(served / plain)
            print(
                f"round {number + 1}: served {served:.1f}, plain {plain:.1f}, bare {rates[-1].items_per_s:.1f} items/s"
            )
        report = meter.report(rates)
        report["timesPlain"] = round(median(ratios), 2)
        report["outsideTheGraph"] = round(1 - report["ratioToBareLoadCountedOut"], 3)
        report["texts"] = {"mix": options.mix, "count": len(texts), "meanTokens": sum(map(len, items)) / len(items)}
        report["bare"]["setting"] = str(bare.setting)
        print_report(report, options.output)


@contextlib.contextmanager
def _plain_server(folder: Path) -> Iterator[int]:
    (port,) = free_ports(1)
    program = Path(__file__).with_name("plain_sparse_server.py")
    process = subprocess.Popen([sys.executable, str(program), str(folder), "--port", str(port)])
    try:
        deadline = time.monotonic() + _START_S
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the plain server did not start")
            time.sleep(0.3)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _options() -> argparse.Namespace:
    parser = common_options(__doc__, model="splade", clients=64, seconds=10.0, rounds=3)
    parser.add_argument("--mix", choices=[mix for mix in get_args(Mix) if mix != "file"], default="lognormal")
    parser.add_argument("--texts", type=int, default=400)
    return parser.parse_args()


if __name__ == "__main__":
    main()
