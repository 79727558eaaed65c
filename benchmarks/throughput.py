"""Compares throughput of concurrent single-text requests with bare ONNX Runtime, in turn.

Bare ONNX Runtime gets the texts tokenized and sorted by length. Its fastest setting of sessions, threads and batch size
is searched first, then measured in turn with the server. The ratio compares medians; a second ratio corrects for the
load generator's share of the cores. A second baseline, ``bareAsTheServer``, disables the same graph optimizations as
the server, and so shows the overhead outside the graphs. ``--other-repository`` adds a third one: the graph of the same
model in another repository, such as one that an earlier version has converted.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from bare import AS_THE_SERVER, BareGraph, Rate, best_bare_graph, tokenize
from ingrain.bench.load import http_request
from ingrain.bench.texts import Mix, make_texts
from ingrain.repository.names import model_key
from ingrain.repository.store import Repository
from measure import Meter, common_options, print_report
from server import running_server

_SHORT_BATCHES = (4, 8, 16, 32)
_LONG_BATCHES = (1, 2, 4, 8, 16, 32)
_FEW_TEXTS = 1_000


def main() -> None:
    options = _options()
    repository = Repository(options.repository.resolve())
    texts = make_texts(options.mix, options.texts)
    requests = [http_request("/embed_text", {"name": options.model, "text": text}) for text in texts]
    has_long_texts = options.mix in ("news", "lognormal")
    seconds = options.seconds or (15.0 if has_long_texts else 4.0)
    with running_server(options.repository, options.models_dir, options.model) as server:
        entry = repository.find(model_key(options.model, "sentence_transformers"))
        assert entry is not None
        items = tokenize(entry, texts)
        batches = _LONG_BATCHES if has_long_texts else _SHORT_BATCHES
        yardsticks: dict[str, BareGraph] = {}
        for name, disabled in (("bare", ()), ("bareAsTheServer", AS_THE_SERVER)):
            graph = best_bare_graph(entry, repository, items, batches, disabled_optimizers=disabled)
            print(f"{name}: ONNX Runtime is best with {graph.setting}")
            yardsticks[name] = graph
        if options.other_repository is not None:
            other = Repository(options.other_repository.resolve())
            other_entry = other.find(model_key(options.model, "sentence_transformers"))
            assert other_entry is not None
            yardsticks["other"] = best_bare_graph(other_entry, other, items, batches)
        meter = Meter(server, options.model, requests, clients=options.clients, seconds=seconds)
        rates: dict[str, list[Rate]] = {name: [] for name in yardsticks}
        for number in range(options.rounds):
            seen = [f"round {number + 1}: served {meter.run():7.1f} items/s"]
            for name, graph in yardsticks.items():
                run = graph.rate_of_whole_passes if len(items) <= _FEW_TEXTS else graph.rate
                rates[name].append(run(seconds))
                seen.append(f"{name} {rates[name][-1].items_per_s:7.1f}")
            print(", ".join(seen), flush=True)
        report = meter.report(rates["bare"])
        further = {name: meter.beside(rates[name]) for name in yardsticks if name != "bare"}
    report["texts"] = {"mix": options.mix, "count": len(texts), "meanTokens": sum(map(len, items)) / len(items)}
    report["bare"]["setting"] = str(yardsticks["bare"].setting)
    report |= {name: {**ratios, "setting": str(yardsticks[name].setting)} for name, ratios in further.items()}
    print_report(report, options.output)


def _options() -> argparse.Namespace:
    parser = common_options(__doc__, model="all-MiniLM-L6-v2", clients=64, seconds=None)
    parser.add_argument("--texts", type=int, default=20_000, help="distinct texts; longer runs repeat them")
    parser.add_argument("--other-repository", type=Path, help="a repository with another graph of the model")
    parser.add_argument("--mix", choices=[mix for mix in get_args(Mix) if mix != "file"], default="query")
    return parser.parse_args()


if __name__ == "__main__":
    main()
