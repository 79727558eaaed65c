"""Compares reranking with other servers, same model, fp32, same cores, in pairs a second, and with bare ONNX Runtime.

The other servers are FastAPI with ``CrossEncoder``, and infinity-emb with its torch and its ONNX engine. All servers
run all the time and get the same requests in turn, each of them once; a cell compares the medians of its rounds. Bare
ONNX Runtime gets the same pairs sorted by length, in the fastest setting. A lone client waits for each request, so its
rate is also compared with bare ONNX Runtime on the pairs of one request after the other, on all cores. The benchmark
first checks that the servers give the same scores. With the defaults it takes about ten minutes on two cores, most of
it with 64 clients.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import subprocess
import sys
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bare import BareGraph, TextSetting, best_bare_graph, median
from ingrain.bench.load import http_request
from ingrain.bench.texts import make_texts
from ingrain.cores import usable_cores
from ingrain.preprocess.pairs import PairTokenizer
from ingrain.preprocess.text import TextPreprocessor
from ingrain.preprocess.tokenized import TokenizedText
from ingrain.repository.names import model_key
from ingrain.repository.store import Repository
from measure import common_options, print_report, print_table, run_facts, send_once, send_once_to
from rival_servers import RERANKERS, prepare, running
from server import Server, running_server

_SAME = 1e-3
_SEARCHED_PAIRS = 500
# So many requests of each client at least: with fewer, the beginning and the end of a round are most of it.
_REQUESTS_PER_CLIENT = 2

Json = dict[str, Any]
Request = tuple[str, list[str]]


@dataclass
class Reranker:
    """A running server; its rates are in pairs a second, its CPU seconds by part if it is ours."""

    name: str
    port: int
    fields: Json
    returns_same: bool = True
    server: Server | None = None
    rates: list[float] = field(default_factory=list)
    cpu_s: dict[str, float] = field(default_factory=dict)

    def body(self, query: str, documents: list[str]) -> Json:
        return {**self.fields, "query": query, "documents": documents}

    def scores(self, query: str, documents: list[str]) -> np.ndarray:
        """Return the scores in the order of the documents, ``float32 [N]``."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/rerank",
            json.dumps(self.body(query, documents)).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            results = json.load(answer)["results"]
        scores = np.zeros(len(documents), np.float32)
        for one in results:
            scores[one["index"]] = one["score"] if "score" in one else one["relevance_score"]
        return scores

    def load(self, requests: list[Request], clients: int) -> None:
        """Have the clients send all requests, and write down the rate."""
        bodies = [http_request("/rerank", self.body(*request)) for request in requests]
        if self.server is None:
            result = send_once(self.port, bodies, clients)
        else:
            result = send_once_to(self.server, bodies, clients, self.cpu_s)
        self.rates.append(result.requests_per_s * len(requests[0][1]))


class Bare:
    """Bare ONNX Runtime in its fastest setting for pairs such as those of the benchmark.

    Attributes:
        setting: The setting.
        rate: Pairs a second, roughly.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._repository = Repository(options.repository)
        entry = self._repository.find(model_key(options.model, "sentence_transformers", None))
        assert entry is not None
        self._entry = entry
        items = self._items(_requests(_SEARCHED_PAIRS // options.documents, options.documents))
        if options.seconds < 2:
            graph = BareGraph(entry, self._repository, TextSetting(1, 1, 16), items)
        else:
            graph = best_bare_graph(entry, self._repository, items, (8, 16, 32))
        self.setting = graph.setting
        self.rate = graph.rate_of_whole_passes(1.0).items_per_s

    def graph(self, requests: list[Request]) -> BareGraph:
        """Return the graph with the pairs of requests."""
        return BareGraph(self._entry, self._repository, self.setting, self._items(requests), disabled_optimizers=())

    def graph_by_request(self, requests: list[Request]) -> BareGraph:
        """Return the graph with the pairs of each request as a batch, which all cores compute."""
        setting = TextSetting(1, usable_cores(), len(requests[0][1]))
        items = self._items(requests)
        return BareGraph(self._entry, self._repository, setting, items, disabled_optimizers=(), sort=False)

    def _items(self, requests: list[Request]) -> list[TokenizedText]:
        assert self._entry.manifest.text is not None
        tokenizer = PairTokenizer(TextPreprocessor(self._entry.manifest.text, self._entry.folder))
        return tokenizer.encode([(query, document) for query, documents in requests for document in documents])


def main() -> None:
    options = _options()
    model = (options.models_dir / options.model).resolve()
    if not model.exists():
        script = Path(__file__).with_name("rerank_model.py")
        subprocess.run([sys.executable, script, options.models_dir / options.tokenizer_of, model], check=True)
    folder = options.environment.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        pip_args = options.pip_args.split()
        prepared = {name: prepare(folder, name, model, pip_args, RERANKERS) for name in options.rivals}
        server = stack.enter_context(running_server(options.repository, options.models_dir, options.model))
        rerankers = [Reranker("ingrain", server.inference_port, {"name": options.model}, server=server)]
        for name, models in prepared.items():
            port, _ = stack.enter_context(running(folder, name, models, RERANKERS))
            fields = {"model": "model"} if "infinity" in name else {}
            rerankers.append(Reranker(name, port, fields, RERANKERS[name].returns_same))
        differences = _differences(rerankers)
        bare = Bare(options)
        cells = [_cell(rerankers, bare, clients, options) for clients in options.client_counts]
    facts = {"documents": options.documents, "largestDifferenceOfAScore": differences, "bare": str(bare.setting)}
    print_report({**run_facts(options.model), **facts, "cells": cells}, options.output)
    print_table([_row(cell) for cell in cells], options.output)


def _options() -> argparse.Namespace:
    parser = common_options(__doc__, model="random-reranker", clients=0, seconds=4.0, rounds=3)
    parser.add_argument("--client-counts", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--documents", type=int, default=5, help="documents of a request")
    parser.add_argument("--rivals", nargs="*", choices=list(RERANKERS), default=list(RERANKERS))
    parser.add_argument("--tokenizer-of", default="all-MiniLM-L6-v2", help="model whose size and tokenizer are taken")
    parser.add_argument(
        "--environment", type=Path, default=Path(".run/rivals"), help="folder of the other servers' environments"
    )
    parser.add_argument("--pip-args", default="", help="passed to pip, for a mirror or a proxy of your own")
    return parser.parse_args()


def _requests(count: int, documents: int, seed: int = 100) -> list[Request]:
    """Return short queries, each with documents of mixed lengths."""
    queries = make_texts("query", count, seed=seed)
    texts = make_texts("lognormal", count * documents, seed=seed)
    return [(query, texts[number * documents :][:documents]) for number, query in enumerate(queries)]


def _differences(rerankers: list[Reranker]) -> dict[str, float]:
    """Return the largest difference of a score from ours; stop if a server that should give the same does not."""
    found: dict[str, float] = {}
    for query, documents in _requests(3, 12, seed=5):
        truth = rerankers[0].scores(query, documents)
        for other in rerankers[1:]:
            difference = float(np.abs(other.scores(query, documents) - truth).max())
            found[other.name] = max(found.get(other.name, 0.0), difference)
            if other.returns_same and difference > _SAME:
                raise SystemExit(f"{other.name} returns other scores (difference {difference:.4f})")
    return found


def _cell(rerankers: list[Reranker], bare: Bare, clients: int, options: argparse.Namespace) -> Json:
    """Have all servers and bare ONNX Runtime compute the same pairs in turn.

    They are as many as bare ONNX Runtime computes in ``seconds``, or more if the clients are many.
    """
    count = max(_REQUESTS_PER_CLIENT * clients, math.ceil(options.seconds * bare.rate / options.documents))
    requests = _requests(count, options.documents)
    graph, bare_rates = bare.graph(requests), []
    by_request, by_request_rates = bare.graph_by_request(requests) if clients == 1 else None, []
    for reranker in rerankers:
        reranker.rates, reranker.cpu_s = [], {}
    for _ in range(options.rounds):
        for reranker in rerankers:
            reranker.load(requests, clients)
        bare_rates.append(graph.rate_of_whole_passes(options.seconds / 2).items_per_s)
        if by_request is not None:
            by_request_rates.append(by_request.rate_of_whole_passes(options.seconds / 2).items_per_s)
    pairs = {reranker.name: round(median(reranker.rates), 1) for reranker in rerankers}
    ours = pairs["ingrain"]
    cell: Json = {
        "clients": clients,
        "pairsOfARound": count * options.documents,
        "pairsPerS": {**pairs, "bare ONNX Runtime": round(median(bare_rates), 1)},
        "pairsPerSOfEachRound": {reranker.name: [round(rate, 1) for rate in reranker.rates] for reranker in rerankers},
        "cpuMsPerPair": {
            part: round(1e3 * used / (count * options.documents * options.rounds), 3)
            for part, used in rerankers[0].cpu_s.items()
        },
        "timesAsFast": {name: round(ours / max(1e-9, rate), 2) for name, rate in pairs.items() if name != "ingrain"},
        "ratioToBare": round(ours / median(bare_rates), 3),
    }
    if by_request_rates:
        cell["pairsPerS"]["bare ONNX Runtime by request"] = round(median(by_request_rates), 1)
        cell["ratioToBareByRequest"] = round(ours / median(by_request_rates), 3)
    print(f"{clients} clients: {cell['pairsPerS']}; times as fast: {cell['timesAsFast']}", flush=True)
    return cell


def _row(cell: Json) -> Json:
    return {
        "clients": cell["clients"],
        "pairs/s": cell["pairsPerS"]["ingrain"],
        **{f"times {name}": ratio for name, ratio in cell["timesAsFast"].items()},
        "of bare ONNX Runtime": cell["ratioToBare"],
        "of bare ONNX Runtime by request": cell.get("ratioToBareByRequest"),
    }


if __name__ == "__main__":
    main()
