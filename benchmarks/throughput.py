"""Throughput of concurrent single-text requests against bare ONNX Runtime, in turn, in one run.

Bare ONNX Runtime is swept over sessions × threads × batch size first; its best setting is then measured in turn with
the server, and the ratio is that of the medians.
"""

from __future__ import annotations

import argparse
from typing import get_args

from bare import BareGraph, median, tokenize
from ingrain.bench.load import http_request
from ingrain.bench.texts import Mix, make_texts
from ingrain.repository.names import model_key
from ingrain.repository.store import Entry, Repository
from measure import CORES, Meter, common_options, tell
from server import running_server

_BATCHES = (4, 8, 16, 32)


def main() -> None:
    options = _options()
    repository = Repository(options.repository.resolve())
    texts = make_texts(options.mix, options.texts)
    requests = [http_request("/embed_text", {"name": options.model, "text": text}) for text in texts]
    with running_server(options.repository, options.models_dir, options.model) as server:
        entry = repository.find(model_key(options.model, "sentence_transformers"))
        assert entry is not None
        items = tokenize(entry, texts)
        setting, graph, batch = _best(entry, repository, items)
        print(f"bare ONNX Runtime is best with {setting}, batches of {batch}")
        meter = Meter(server, options.model, requests, clients=options.clients, seconds=options.seconds)
        bare = []
        for number in range(options.rounds):
            rate = meter.run().requests_per_s
            bare.append(graph.items_per_s(items, batch, options.seconds))
            print(f"round {number + 1}: served {rate:7.1f} items/s, bare {bare[-1]:7.1f}")
        report = meter.report(bare)
    report["bare"] = {"setting": setting, "batch": batch, "itemsPerS": median(bare)}
    tell(report, options.output)


def _options() -> argparse.Namespace:
    parser = common_options(__doc__, model="all-MiniLM-L6-v2", clients=64)
    parser.add_argument("--texts", type=int, default=20_000, help="distinct texts; longer runs walk through them again")
    parser.add_argument("--mix", choices=[mix for mix in get_args(Mix) if mix != "file"], default="query")
    return parser.parse_args()


def _best(entry: Entry, repository: Repository, items: list) -> tuple[str, BareGraph, int]:
    found = []
    for sessions, threads in dict.fromkeys([(1, CORES), (CORES, 1), (1, 1)]):
        graph = BareGraph(entry, repository, sessions=sessions, threads=threads)
        for batch in _BATCHES:
            graph.items_per_s(items, batch, 0.3)
            rate = graph.items_per_s(items, batch, 1.5)
            print(f"bare, {sessions} sessions × {threads} threads, batches of {batch:2}: {rate:7.1f} items/s")
            found.append((rate, f"{sessions} sessions × {threads} threads", graph, batch))
    _, setting, graph, batch = max(found, key=lambda one: one[0])
    return setting, graph, batch


if __name__ == "__main__":
    main()
