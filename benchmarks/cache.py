"""Compares a server with its cache of vectors to one without, in turn, for queries whose popularity follows Zipf's law.

The query of rank r is drawn with a probability proportional to 1 / r^s. Both servers get the same draws. The cache is
empty at the start; the rounds begin after a number of requests that are reported, too, as they show a cache that fills.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import random

from bare import median
from ingrain.bench.load import LoadResult, Target, closed_loop, http_request
from ingrain.bench.texts import make_texts
from measure import StolenTime, common_options, print_report, run_facts, run_loop, statuses
from server import Server, running_server

_DRAWS = 100_000
_FILLING_S = 2.0


def main() -> None:
    options = _options()
    texts = make_texts("query", options.texts)
    requests = [http_request("/embed_text", {"name": options.model, "text": text}) for text in texts]
    numbers = random.Random(7)
    weights = list(itertools.accumulate(1 / rank**options.exponent for rank in range(1, len(requests) + 1)))
    results: dict[str, list[LoadResult]] = {"on": [], "off": []}
    hit_shares, stolen = [], StolenTime()
    with contextlib.ExitStack() as stack:
        servers = {
            name: stack.enter_context(
                running_server(
                    options.repository,
                    options.models_dir,
                    options.model,
                    INGRAIN_ENGINE=options.engine,
                    INGRAIN_CACHE_BYTES=str(size),
                )
            )
            for name, size in (("on", options.cache_bytes), ("off", 0))
        }
        filling = _fill(servers["on"], options, requests, weights, numbers)
        for number in range(options.rounds):
            draws = numbers.choices(requests, cum_weights=weights, k=_DRAWS)
            for name in results:
                before = servers[name].counts(options.model)
                results[name].append(_load(servers[name], options, draws, options.seconds))
                if name == "on":
                    hit_shares.append(_hit_share(before, servers[name].counts(options.model)))
            on, off = (results[name][-1].requests_per_s for name in ("on", "off"))
            print(f"round {number + 1}: {on:.0f} and {off:.0f} requests/s, {hit_shares[-1]:.3f} hits", flush=True)
    rates = {name: median([result.requests_per_s for result in found]) for name, found in results.items()}
    report = {
        **run_facts(options.model),
        "clients": options.clients,
        "texts": options.texts,
        "exponent": options.exponent,
        "cacheBytes": options.cache_bytes,
        "whileFilling": filling,
        "requestsPerS": rates,
        "onToOff": round(rates["on"] / rates["off"], 3),
        "cacheHitShare": median(hit_shares),
        "p50Ms": {name: median([one.percentile_ms(0.5) for one in found]) for name, found in results.items()},
        "p99Ms": {name: median([one.percentile_ms(0.99) for one in found]) for name, found in results.items()},
        "statuses": {name: statuses(found) for name, found in results.items()},
        "stolenShare": round(stolen.share(), 3),
    }
    print_report(report, options.output)


def _fill(server: Server, options, requests, weights, numbers) -> list[dict[str, float]]:
    """Send requests until the cache has seen enough of them; return rate and hit share by the number of requests."""
    steps: list[dict[str, float]] = []
    answered = 0
    while answered < options.before:
        before = server.counts(options.model)
        draws = numbers.choices(requests, cum_weights=weights, k=_DRAWS)
        result = _load(server, options, draws, _FILLING_S)
        answered += len(result.latencies_s)
        share = _hit_share(before, server.counts(options.model))
        steps.append({"requests": answered, "requestsPerS": round(result.requests_per_s), "cacheHitShare": share})
    return steps


def _load(server: Server, options: argparse.Namespace, draws: list[bytes], seconds: float) -> LoadResult:
    target = Target("127.0.0.1", server.inference_port)
    result = run_loop(closed_loop(target, draws, clients=options.clients, seconds=seconds))
    if len(result.latencies_s) > len(draws):
        raise SystemExit("the draws were sent more than once; choose fewer seconds")
    return result


def _hit_share(before, after) -> float:
    counted = after.since(before) if before is not None else after
    return round(counted.cache_hits / max(1.0, counted.looked_up), 4)


def _options() -> argparse.Namespace:
    parser = common_options(__doc__, model="all-MiniLM-L6-v2", clients=64, seconds=4.0, rounds=7)
    parser.add_argument("--texts", type=int, default=50_000, help="distinct queries")
    parser.add_argument("--exponent", type=float, default=1.0, help="Zipf's exponent s")
    parser.add_argument("--before", type=int, default=50_000, help="requests to the cache before the rounds")
    parser.add_argument("--cache-bytes", type=int, default=64 * 1024 * 1024, help="INGRAIN_CACHE_BYTES of one server")
    parser.add_argument("--engine", default="auto", help="INGRAIN_ENGINE of both servers")
    return parser.parse_args()


if __name__ == "__main__":
    main()
