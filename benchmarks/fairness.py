"""Measures p99 of single queries with and without another client that sends requests of 10,000 items, in turn.

The other client is a separate process that sends one such request after another. Each busy phase lasts until this
client has received at least one whole response, so that the phase covers a large request from arrival to response.
"""

from __future__ import annotations

import argparse
import http.client
import multiprocessing
import time
from multiprocessing.sharedctypes import Synchronized
from typing import Any

import orjson

from bare import median
from ingrain.bench.load import LoadResult, Target, closed_loop, http_request
from ingrain.bench.texts import Mix, make_texts
from measure import common_options, print_report, run_facts, run_loop, statuses
from server import Server, running_server
from yardstick_model import NAME

_SLICE_S = 2.0
_SETTLE_S = 1.0
_LONGEST_PHASE_S = 300.0


def main() -> None:
    options = _options()
    singles = [
        http_request("/embed_text", {"name": options.model, "text": text}) for text in make_texts("query", 20_000)
    ]
    many = make_texts(options.bulk_mix, options.bulk_items, seed=11)
    while len(many) < options.bulk_items:
        many += many[: options.bulk_items - len(many)]
    body = orjson.dumps({"name": options.model, "text": many})
    quiet: list[LoadResult] = []
    busy: list[LoadResult] = []
    with running_server(options.repository, options.models_dir, options.model, INGRAIN_ENGINE=options.engine) as server:
        _load(server, singles, options.clients, _SETTLE_S)
        items = seconds = 0.0
        for number in range(options.rounds):
            quiet.append(_load(server, singles, options.clients, options.seconds))
            result, answered, took = _busy_phase(server, singles, body, options)
            busy.append(result)
            items, seconds = items + answered * options.bulk_items, seconds + took
            print(
                f"round {number + 1}: p99 {quiet[-1].percentile_ms(0.99):6.1f} ms alone, "
                f"{result.percentile_ms(0.99):6.1f} ms beside {answered} large requests",
                flush=True,
            )
            time.sleep(_SETTLE_S)
        padding = server.counts(options.model)
    report: dict[str, Any] = {
        **run_facts(options.model),
        "clients": options.clients,
        "largeRequest": {"items": options.bulk_items, "mix": options.bulk_mix},
        "alone": _latencies(quiet),
        "besideLargeRequests": _latencies(busy),
        "largeItemsPerSMeanwhile": round(items / seconds, 1),
        "meanBatch": round(padding.items / padding.batches, 2) if padding is not None else None,
    }
    for share in ("p50Ms", "p99Ms"):
        report[f"{share[:3]}Ratio"] = round(report["besideLargeRequests"][share] / report["alone"][share], 2)
    print_report(report, options.output)


def _options() -> argparse.Namespace:
    parser = common_options(__doc__, model=NAME, clients=1, seconds=10.0, rounds=3)
    parser.add_argument("--engine", default="auto", help="INGRAIN_ENGINE of the server")
    parser.add_argument("--bulk-items", type=int, default=10_000, help="items of a large request")
    mixes: tuple[Mix, ...] = ("query", "constant", "news", "lognormal")
    parser.add_argument("--bulk-mix", choices=mixes, default="query", help="kind of their texts")
    return parser.parse_args()


def _load(server: Server, singles: list[bytes], clients: int, seconds: float) -> LoadResult:
    return run_loop(closed_loop(Target("127.0.0.1", server.inference_port), singles, clients=clients, seconds=seconds))


def _busy_phase(
    server: Server, singles: list[bytes], body: bytes, options: argparse.Namespace
) -> tuple[LoadResult, int, float]:
    """Send single queries beside large requests; return their results, and number and latencies of the large ones."""
    answers = multiprocessing.Value("i", 0)
    last_answer_at = multiprocessing.Value("d", 0.0)
    sender = multiprocessing.Process(target=_send_large, args=(server.inference_port, body, answers, last_answer_at))
    sender.start()
    started = time.monotonic()
    try:
        whole = LoadResult()
        while time.monotonic() < started + options.seconds or not answers.value:
            result = _load(server, singles, options.clients, _SLICE_S)
            whole.seconds += result.seconds
            whole.latencies_s += result.latencies_s
            whole.lost += result.lost
            for status, count in result.statuses.items():
                whole.statuses[status] = whole.statuses.get(status, 0) + count
            if not sender.is_alive() or time.monotonic() > started + _LONGEST_PHASE_S:
                raise SystemExit("the large requests were not answered")
    finally:
        sender.kill()
        sender.join()
    return whole, answers.value, last_answer_at.value - started


def _send_large(port: int, body: bytes, answers: Synchronized[int], last_answer_at: Synchronized[float]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_LONGEST_PHASE_S)
    while True:
        connection.request("POST", "/embed_text", body, {"content-type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise SystemExit(f"a large request got status {answer.status}: {content[:200]!r}")
        last_answer_at.value = time.monotonic()
        answers.value += 1


def _latencies(results: list[LoadResult]) -> dict[str, Any]:
    return {
        "requestsPerS": round(median([result.requests_per_s for result in results]), 1),
        **{
            f"p{round(100 * share)}Ms": round(median([result.percentile_ms(share) for result in results]), 2)
            for share in (0.5, 0.95, 0.99, 1.0)
        },
        "statuses": statuses(results),
    }


if __name__ == "__main__":
    main()
