"""Measures responses within a deadline and late responses at twice the capacity, in turn with the capacity.

The capacity is the rate of a closed loop with many clients on a server with a long timeout. The overload is an open
loop at twice this rate, at random times, on a second server. A response is good if it arrives within the deadline,
counted from the time at which its request was due. The second server has the same deadline (INGRAIN_REQUEST_TIMEOUT_S).
"""

from __future__ import annotations

import argparse
from typing import Any

from bare import median
from ingrain.bench.load import LoadResult, Target, closed_loop, http_request, open_loop
from ingrain.bench.texts import make_texts
from measure import CORES, batches, common_options, print_report, run_facts, run_loop, statuses
from server import Server, running_server
from yardstick_model import NAME

_WARM_UP_S = 2.0


def main() -> None:
    options = _options()
    texts = make_texts("query", 20_000)
    requests = [http_request("/embed_text", {"name": options.model, "text": text}) for text in texts]
    servers = (options.repository, options.models_dir, options.model)
    engine = {"INGRAIN_ENGINE": options.engine}
    with (
        running_server(*servers, **engine) as patient,
        running_server(*servers, **engine, INGRAIN_REQUEST_TIMEOUT_S=str(options.deadline)) as server,
    ):
        capacity, overload = _Side(patient, options), _Side(server, options)
        for side in (capacity, overload):
            side.capacity(requests, _WARM_UP_S)
            side.forget()
        for number in range(options.rounds):
            rate = capacity.capacity(requests, options.seconds)
            good = overload.overload(requests, options.times * rate, number)
            print(
                f"round {number + 1}: capacity {rate:6.1f}/s, offered {options.times:g} times: {good:6.1f}/s good, "
                f"answers {overload.results[-1].statuses}",
                flush=True,
            )
        report: dict[str, Any] = {
            **run_facts(options.model),
            "deadlineS": options.deadline,
            "capacity": {"clients": options.clients, **capacity.report()},
            "overload": {"offeredPerS": round(options.times * median(capacity.rates), 1), **overload.report()},
        }
    ratio = median(overload.rates) / median(capacity.rates)
    counted_out = (1 - capacity.generator_share()) / (1 - overload.generator_share())
    print_report(
        {
            **report,
            "goodputToCapacity": round(ratio, 3),
            "goodputToCapacityLoadCountedOut": round(ratio * counted_out, 3),
        },
        options.output,
    )


class _Side:
    """One of the two servers, with its measurements."""

    def __init__(self, server: Server, options: argparse.Namespace) -> None:
        self._server = server
        self._options = options
        self._target = Target("127.0.0.1", server.inference_port)
        self.forget()

    def forget(self) -> None:
        self.results: list[LoadResult] = []
        self.rates: list[float] = []
        self._cpu_before = self._server.cpu_s()
        self._counts_before = self._server.counts(self._options.model)

    def capacity(self, requests: list[bytes], seconds: float) -> float:
        load = closed_loop(self._target, requests, clients=self._options.clients, seconds=_WARM_UP_S + seconds)
        self.results.append(run_loop(load))
        self.rates.append(self.results[-1].steady_requests_per_s(_WARM_UP_S))
        return self.rates[-1]

    def overload(self, requests: list[bytes], rate: float, seed: int) -> float:
        options = self._options
        warm_up = max(_WARM_UP_S, 2 * options.deadline)
        load = open_loop(
            self._target,
            requests,
            rate=rate,
            seconds=warm_up + options.seconds,
            connections=options.connections,
            seed=seed,
        )
        self.results.append(run_loop(load))
        self.rates.append(self.results[-1].steady_requests_per_s(warm_up, within_s=options.deadline))
        return self.rates[-1]

    def generator_share(self) -> float:
        return sum(result.cpu_s for result in self.results) / sum(result.seconds for result in self.results) / CORES

    def report(self) -> dict[str, Any]:
        seconds = sum(result.seconds for result in self.results)
        used = {part: after - self._cpu_before[part] for part, after in self._server.cpu_s().items()}
        deadline = self._options.deadline
        return {
            "goodPerS": round(median(self.rates), 1),
            "p50Ms": round(median([result.percentile_ms(0.5) for result in self.results]), 1),
            "p99Ms": round(median([result.percentile_ms(0.99) for result in self.results]), 1),
            "answersAfterDeadline": sum(
                latency > deadline for result in self.results for latency in result.latencies_s
            ),
            "statuses": statuses(self.results),
            "cpuShare": {part: round(one / seconds / CORES, 3) for part, one in used.items()},
            "loadGeneratorCpuShare": round(self.generator_share(), 3),
            **batches(self._counts_before, self._server.counts(self._options.model)),
        }


def _options() -> argparse.Namespace:
    parser = common_options(__doc__, model=NAME, clients=256, seconds=8.0, rounds=5)
    parser.add_argument("--engine", default="auto", help="INGRAIN_ENGINE of the server")
    parser.add_argument("--times", type=float, default=2.0, help="offered load as a multiple of the capacity")
    parser.add_argument("--deadline", type=float, default=2.0, help="seconds within which a response is good")
    parser.add_argument("--connections", type=int, default=4_000, help="limit of requests in progress")
    return parser.parse_args()


if __name__ == "__main__":
    main()
