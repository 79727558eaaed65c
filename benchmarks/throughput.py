"""Throughput of concurrent single-text requests against bare ONNX Runtime, in turn, in one run.

Bare ONNX Runtime is swept over sessions × threads × batch size first; its best setting is then measured in turn with
the server, and the ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import platform
import random
from pathlib import Path

import uvloop

from bare import BareGraph, median, tokenize
from ingrain.repository.names import model_key
from ingrain.repository.store import Entry, Repository
from load import LoadResult, closed_loop, http_request
from server import Server, running_server

_WORDS = (
    *("river", "stone", "market", "quiet", "signal", "garden", "copper", "window", "travel", "letter", "summer"),
    *("engine", "paper", "forest", "silver", "morning", "number", "island", "bridge", "winter", "doctor", "planet"),
    *("coffee", "street", "mirror", "castle", "yellow", "pocket", "singer"),
)
_BATCHES = (4, 8, 16, 32)


def main() -> None:
    options = _options()
    repository = Repository(options.repository.resolve())
    texts = short_texts(options.texts)
    requests = [http_request("/embed_text", {"name": options.model, "text": text}) for text in texts]
    with running_server(options.repository, options.models_dir, options.model) as server:
        entry = repository.find(model_key(options.model, "sentence_transformers"))
        assert entry is not None
        items = tokenize(entry, texts)
        setting, graph, batch = _best(entry, repository, items)
        print(f"bare ONNX Runtime is best with {setting}, batches of {batch}")
        served, bare = [], []
        before, cpu_before = _counts(server, options.model), server.cpu_s()
        for number in range(options.rounds):
            result = _load(server, requests, options)
            served.append(result)
            bare.append(graph.items_per_s(items, batch, options.seconds))
            print(f"round {number + 1}: served {result.requests_per_s:7.1f} items/s, bare {bare[-1]:7.1f}")
        report = _report(options, server, served, bare, before, cpu_before)
    report["bare"] = {"setting": setting, "batch": batch, "itemsPerS": median(bare)}
    print(json.dumps(report, indent=2))
    if options.output:
        options.output.write_text(json.dumps(report, indent=2) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", type=Path, default=Path(".run/repository"))
    parser.add_argument("--models-dir", type=Path, default=Path(".run/models"))
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--texts", type=int, default=20_000, help="distinct texts; longer runs walk through them again")
    parser.add_argument("--output", type=Path, help="write the report as JSON too")
    return parser.parse_args()


def short_texts(count: int) -> list[str]:
    """Return distinct texts of 4 to 9 words: the lengths of search queries."""
    words = random.Random(7)
    texts = dict.fromkeys(" ".join(words.choices(_WORDS, k=words.randint(4, 9))) for _ in range(2 * count))
    return list(texts)[:count]


def _best(entry: Entry, repository: Repository, items: list) -> tuple[str, BareGraph, int]:
    cores = len(os.sched_getaffinity(0))
    found = []
    for sessions, threads in dict.fromkeys([(1, cores), (cores, 1), (1, 1)]):
        graph = BareGraph(entry, repository, sessions=sessions, threads=threads)
        for batch in _BATCHES:
            graph.items_per_s(items, batch, 0.3)
            rate = graph.items_per_s(items, batch, 1.5)
            print(f"bare, {sessions} sessions × {threads} threads, batches of {batch:2}: {rate:7.1f} items/s")
            found.append((rate, f"{sessions} sessions × {threads} threads", graph, batch))
    _, setting, graph, batch = max(found, key=lambda one: one[0])
    return setting, graph, batch


def _load(server: Server, requests: list[bytes], options: argparse.Namespace) -> LoadResult:
    random.shuffle(requests)
    loop = uvloop.new_event_loop()
    try:
        return loop.run_until_complete(closed_loop(server.inference_port, requests, options.clients, options.seconds))
    finally:
        loop.close()
        asyncio.set_event_loop(None)


def _counts(server: Server, model: str) -> tuple[int, int]:
    stats = next(stats for stats in server.get("/metrics")["modelStats"] if stats["name"] == model)
    return int(stats["inferenceCount"]), int(stats["executionCount"])


def _report(
    options: argparse.Namespace,
    server: Server,
    served: list[LoadResult],
    bare: list[float],
    before: tuple[int, int],
    cpu_before: dict[str, float],
) -> dict:
    after, cpu_after = _counts(server, options.model), server.cpu_s()
    rate = median([result.requests_per_s for result in served])
    wall = sum(result.seconds for result in served)
    cores = len(os.sched_getaffinity(0))
    cpu = {part: cpu_after[part] - cpu_before[part] for part in cpu_after}
    cpu["load generator"] = sum(result.cpu_s for result in served)
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{cores} cores, {platform.machine()}",
        "model": options.model,
        "clients": options.clients,
        "served": {
            "itemsPerS": rate,
            "p50Ms": median([result.percentile_ms(0.5) for result in served]),
            "p99Ms": median([result.percentile_ms(0.99) for result in served]),
            "statuses": {str(s): sum(r.statuses.get(s, 0) for r in served) for r in served for s in r.statuses},
        },
        "meanBatchOfTriton": (after[0] - before[0]) / max(1, after[1] - before[1]),
        "cpuShareOfAllCores": {part: round(used / (wall * cores), 3) for part, used in cpu.items()},
        "ratioToBare": rate / median(bare),
    }


if __name__ == "__main__":
    main()
