"""Compares Ingrain with other servers, same model, fp32, same cores: short and mixed texts, 1 / 32 / 256 clients.

The other servers are FastAPI with sentence-transformers, and infinity-emb with its torch and its ONNX engine; on
request also sie-server and vLLM. The first run installs each kind into an environment of its own.
All servers run all the time and get the load in turn; each cell compares medians. The benchmark first checks that all
return the same vectors.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from bare import median
from ingrain.bench.load import LoadResult, Target, closed_loop, http_request
from ingrain.bench.texts import Mix, make_texts
from measure import common_options, print_report, run_facts, run_loop, statuses
from rival_servers import RIVALS, prepare, running
from server import running_server

_SECONDS: dict[Mix, float] = {"query": 4.0, "lognormal": 12.0}
_WARM_UP_SHARE = 0.25
_IDLE_LOOK_S = 3.0
_SAME = 0.9999

Json = dict[str, Any]


@dataclass
class Rival:
    """A running server and its API.

    Attributes:
        name: Name in the report.
        port: Port of the server.
        process: Main process of the server.
        path: Path of the route for embeddings.
        body: Returns the request body for one text.
        vector: Returns the vector in a response to a request for one text.
    """

    name: str
    port: int
    process: psutil.Process
    path: str
    body: Callable[[str], Json]
    vector: Callable[[Json], list[float]]
    results: list[LoadResult] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    def embed(self, text: str) -> np.ndarray:
        """Return the vector of a text, ``float32 [D]``."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{self.path}",
            json.dumps(self.body(text)).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            return np.array(self.vector(json.load(answer)), np.float32)

    def cpu_s(self) -> float:
        """Return the CPU seconds of all processes of the server."""
        used = 0.0
        for one in (self.process, *self.process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                used += sum(one.cpu_times()[:2])
        return used

    def load(self, texts: list[str], clients: int, seconds: float) -> None:
        """Run a closed loop for one round, with the texts in order."""
        requests = [http_request(self.path, self.body(text)) for text in texts]
        warm_up, before = _WARM_UP_SHARE * seconds, self.cpu_s()
        load = closed_loop(Target("127.0.0.1", self.port), requests, clients=clients, seconds=warm_up + seconds)
        result = run_loop(load)
        self.results.append(result)
        self.rates.append(result.steady_requests_per_s(warm_up))
        self.cpu_ms.append(1e3 * (self.cpu_s() - before) / max(1, len(result.latencies_s)))


def main() -> None:
    options = _options()
    folder, model = options.environment.resolve(), (options.models_dir / options.model).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        prepared = {name: prepare(folder, name, model, options.pip_args.split()) for name in options.rivals}
        server = stack.enter_context(running_server(options.repository, options.models_dir, options.model))
        rivals = [
            Rival(
                "ingrain",
                server.inference_port,
                psutil.Process(server.process.pid),
                "/embed_text",
                lambda text: {"name": options.model, "text": text},
                lambda answer: answer["embeddings"][0],
            )
        ]
        for name, models in prepared.items():
            rivals.append(_rival(name, *stack.enter_context(running(folder, name, models))))
        _check_equality(rivals)
        idle = _idle_cpu(rivals)
        cells = [_cell(rivals, mix, clients, options) for mix in options.mixes for clients in options.client_counts]
    print_report({**run_facts(options.model), "cpuShareOfACoreWhenIdle": idle, "cells": cells}, options.output)


def _options() -> argparse.Namespace:
    parser = common_options(__doc__, model="all-MiniLM-L6-v2", clients=0, seconds=None, rounds=3)
    parser.add_argument("--client-counts", type=int, nargs="+", default=[1, 32, 256])
    parser.add_argument("--mixes", nargs="+", choices=list(_SECONDS), default=list(_SECONDS))
    usual = [name for name, rival in RIVALS.items() if rival.environment == "infinity"]
    parser.add_argument("--rivals", nargs="*", choices=list(RIVALS), default=usual)
    parser.add_argument(
        "--environment", type=Path, default=Path(".run/rivals"), help="folder of the other servers' environments"
    )
    parser.add_argument("--pip-args", default="", help="passed to pip, for a mirror or a proxy of your own")
    return parser.parse_args()


def _rival(name: str, port: int, process: psutil.Process) -> Rival:
    rival = RIVALS[name]
    if rival.path == "/embed":
        return Rival(name, port, process, rival.path, lambda text: {"input": [text]}, lambda it: it["embeddings"][0])
    return Rival(
        name,
        port,
        process,
        rival.path,
        lambda text: {"model": rival.model, "input": [text], **rival.fields},
        lambda answer: answer["data"][0]["embedding"],
    )


def _check_equality(rivals: list[Rival]) -> None:
    """Check that all servers return the same vectors, for short and for truncated texts."""
    for text in ("river", *make_texts("query", 3), *make_texts("lognormal", 5), " ".join(make_texts("query", 60))):
        truth = rivals[0].embed(text)
        for rival in rivals[1:]:
            vector = rival.embed(text)
            cosine = float(vector @ truth / np.linalg.norm(vector) / np.linalg.norm(truth))
            if cosine < _SAME:
                raise SystemExit(f"{rival.name} returns another vector (cosine {cosine:.4f}) for {text[:60]!r}")


def _idle_cpu(rivals: list[Rival]) -> dict[str, float]:
    """Return the share of a core that each server uses while idle, because it slows down the others."""
    before = [rival.cpu_s() for rival in rivals]
    time.sleep(_IDLE_LOOK_S)
    return {
        rival.name: round((rival.cpu_s() - used) / _IDLE_LOOK_S, 3) for rival, used in zip(rivals, before, strict=True)
    }


def _cell(rivals: list[Rival], mix: Mix, clients: int, options: argparse.Namespace) -> Json:
    """Put load on all servers in turn, with the same texts in the same order; each round has other texts."""
    for rival in rivals:
        rival.results, rival.rates, rival.cpu_ms = [], [], []
    seconds = options.seconds or _SECONDS[mix]
    for number in range(options.rounds):
        texts = make_texts(mix, 5_000, seed=100 + number)
        for rival in rivals:
            rival.load(texts, clients, seconds)
    cell: Json = {"mix": mix, "clients": clients, "servers": {}}
    for rival in rivals:
        cell["servers"][rival.name] = {
            "itemsPerS": round(median(rival.rates), 1),
            "p50Ms": round(median([result.percentile_ms(0.5) for result in rival.results]), 1),
            "p99Ms": round(median([result.percentile_ms(0.99) for result in rival.results]), 1),
            "cpuMsPerItem": round(median(rival.cpu_ms), 2),
            "statuses": statuses(rival.results),
        }
    ours = cell["servers"]["ingrain"]
    others = {name: one for name, one in cell["servers"].items() if name != "ingrain"}
    cell["timesAsFast"] = {
        name: round(ours["itemsPerS"] / max(1e-9, one["itemsPerS"]), 2) for name, one in others.items()
    }
    cell["timesLessCpu"] = {name: round(one["cpuMsPerItem"] / ours["cpuMsPerItem"], 2) for name, one in others.items()}
    print(f"{mix}, {clients} clients: {ours['itemsPerS']:.1f}/s; times as fast: {cell['timesAsFast']}", flush=True)
    return cell


if __name__ == "__main__":
    main()
