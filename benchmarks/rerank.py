"""Compares reranking with other servers, same model, fp32, same cores, in pairs a second, and with bare ONNX Runtime.

The other servers are FastAPI with ``CrossEncoder``, and infinity-emb with its torch engine. All servers run all the
time and get the load in turn; each cell compares medians. Bare ONNX Runtime gets the same pairs sorted by length, in
the fastest setting. The benchmark first checks that all servers rank alike.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bare import BareGraph, TextSetting, best_bare_graph, median
from ingrain.bench.load import Target, closed_loop, http_request
from ingrain.bench.texts import make_texts
from ingrain.preprocess.pairs import PairTokenizer
from ingrain.preprocess.text import TextPreprocessor
from ingrain.preprocess.tokenized import TokenizedText
from ingrain.repository.names import model_key
from ingrain.repository.store import Entry, Repository
from measure import common_options, print_report, run_facts, run_loop
from rival_servers import RERANKERS, Models, create_environment, running
from server import running_server

_WARM_UP_SHARE = 0.25
_SAME = 1e-3
_BARE_PAIRS = 2_000

Json = dict[str, Any]


@dataclass
class Reranker:
    """A running server; its rates are in pairs a second."""

    name: str
    port: int
    fields: Json
    rates: list[float] = field(default_factory=list)

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

    def load(self, requests: list[tuple[str, list[str]]], clients: int, seconds: float) -> None:
        """Run a closed loop for one round."""
        bodies = [http_request("/rerank", self.body(*request)) for request in requests]
        warm_up = _WARM_UP_SHARE * seconds
        result = run_loop(
            closed_loop(Target("127.0.0.1", self.port), bodies, clients=clients, seconds=warm_up + seconds)
        )
        self.rates.append(result.steady_requests_per_s(warm_up) * len(requests[0][1]))


def main() -> None:
    options = _options()
    model = (options.models_dir / options.model).resolve()
    if not model.exists():
        script = Path(__file__).with_name("rerank_model.py")
        subprocess.run([sys.executable, script, options.models_dir / options.tokenizer_of, model], check=True)
    folder = options.environment.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for name in options.rivals:
        create_environment(folder, RERANKERS[name].environment, options.pip_args.split())
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(running_server(options.repository, options.models_dir, options.model))
        rerankers = [Reranker("ingrain", server.inference_port, {"name": options.model})]
        for name in options.rivals:
            port, _ = stack.enter_context(running(folder, name, Models(model, model), RERANKERS))
            rerankers.append(Reranker(name, port, {"model": "model"} if "infinity" in name else {}))
        _check_equality(rerankers)
        bare = _bare(options)
        cells = [_cell(rerankers, bare, clients, options) for clients in options.client_counts]
    print_report({**run_facts(options.model), "documents": options.documents, "cells": cells}, options.output)


def _options() -> argparse.Namespace:
    parser = common_options(__doc__, model="random-reranker", clients=0, seconds=8.0, rounds=3)
    parser.add_argument("--client-counts", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--documents", type=int, default=16, help="documents of a request")
    parser.add_argument("--rivals", nargs="*", choices=list(RERANKERS), default=list(RERANKERS))
    parser.add_argument("--tokenizer-of", default="all-MiniLM-L6-v2", help="model whose size and tokenizer are taken")
    parser.add_argument(
        "--environment", type=Path, default=Path(".run/rivals"), help="folder of the other servers' environments"
    )
    parser.add_argument("--pip-args", default="", help="passed to pip, for a mirror or a proxy of your own")
    return parser.parse_args()


def _requests(count: int, documents: int, seed: int) -> list[tuple[str, list[str]]]:
    """Return short queries, each with documents of mixed lengths."""
    queries = make_texts("query", count, seed=seed)
    texts = make_texts("lognormal", count * documents, seed=seed)
    return [(query, texts[number * documents :][:documents]) for number, query in enumerate(queries)]


def _check_equality(rerankers: list[Reranker]) -> None:
    for query, documents in _requests(3, 12, seed=5):
        truth = rerankers[0].scores(query, documents)
        for other in rerankers[1:]:
            difference = float(np.abs(other.scores(query, documents) - truth).max())
            if difference > _SAME:
                raise SystemExit(f"{other.name} returns other scores (difference {difference:.4f})")


def _bare(options: argparse.Namespace) -> BareGraph:
    """Return bare ONNX Runtime on the pairs of the benchmark, in its fastest setting."""
    repository = Repository(options.repository)
    entry = repository.find(model_key(options.model, "sentence_transformers", None))
    assert entry is not None
    items = _items(entry, _requests(_BARE_PAIRS // options.documents, options.documents, seed=100))
    if options.seconds < 2:
        return BareGraph(entry, repository, TextSetting(1, 1, 16), items)
    return best_bare_graph(entry, repository, items)


def _items(entry: Entry, requests: list[tuple[str, list[str]]]) -> list[TokenizedText]:
    assert entry.manifest.text is not None
    tokenizer = PairTokenizer(TextPreprocessor(entry.manifest.text, entry.folder))
    return tokenizer.encode([(query, document) for query, documents in requests for document in documents])


def _cell(rerankers: list[Reranker], bare: BareGraph, clients: int, options: argparse.Namespace) -> Json:
    """Put load on all servers and on bare ONNX Runtime in turn; each round has other pairs."""
    bare_rates = []
    for reranker in rerankers:
        reranker.rates = []
    for number in range(options.rounds):
        requests = _requests(_BARE_PAIRS // options.documents, options.documents, seed=100 + number)
        for reranker in rerankers:
            reranker.load(requests, clients, options.seconds)
        bare_rates.append(bare.rate_of_whole_passes(options.seconds).items_per_s)
    pairs = {reranker.name: round(median(reranker.rates), 1) for reranker in rerankers}
    ours = pairs["ingrain"]
    cell: Json = {
        "clients": clients,
        "pairsPerS": {**pairs, "bare ONNX Runtime": round(median(bare_rates), 1)},
        "timesAsFast": {name: round(ours / max(1e-9, rate), 2) for name, rate in pairs.items() if name != "ingrain"},
        "ratioToBare": round(ours / median(bare_rates), 3),
    }
    print(f"{clients} clients: {cell['pairsPerS']}; times as fast: {cell['timesAsFast']}", flush=True)
    return cell


if __name__ == "__main__":
    main()
