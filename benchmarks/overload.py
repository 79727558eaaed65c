"""Offered load at twice the capacity: good answers beside the capacity, and answers that came too late, in turn.

Capacity is what a closed loop of many clients gets answered. The overload is an open loop at twice that rate, at random
moments, whether the server keeps up or not. An answer is good if it came within the deadline, counted from the moment
at which its request was meant to be sent. The server has that deadline too (INGRAIN_REQUEST_TIMEOUT_S).
"""

from __future__ import annotations

import argparse
from typing import Any

from bare import median
from ingrain.bench.load import LoadResult, Target, closed_loop, http_request, open_loop
from ingrain.bench.texts import make_texts
from measure import CORES, about, batches, common_options, run_loop, statuses, tell
from server import running_server
from yardstick_model import NAME

_WARM_UP_S = 2.0


def main() -> None:
    options = _options()
    texts = make_texts("query", 20_000)
    requests = [http_request("/embed_text", {"name": options.model, "text": text}) for text in texts]
    environment = {"INGRAIN_REQUEST_TIMEOUT_S": str(options.deadline), "INGRAIN_ENGINE": options.engine}
    warm_up = max(_WARM_UP_S, 2 * options.deadline)
    closed: list[LoadResult] = []
    opened: list[LoadResult] = []
    capacities: list[float] = []
    goodputs: list[float] = []
    cpu_ms: list[dict[str, float]] = []
    with running_server(options.repository, options.models_dir, options.model, **environment) as server:
        target = Target("127.0.0.1", server.inference_port)
        run_loop(closed_loop(target, requests, clients=options.clients, seconds=_WARM_UP_S))
        counts = []
        for number in range(options.rounds):
            before = server.counts(options.model)
            closed.append(
                run_loop(closed_loop(target, requests, clients=options.clients, seconds=_WARM_UP_S + options.seconds))
            )
            capacities.append(closed[-1].steady_requests_per_s(_WARM_UP_S))
            between, cpu = server.counts(options.model), server.cpu_s()
            opened.append(
                run_loop(
                    open_loop(
                        target,
                        requests,
                        rate=options.times * capacities[-1],
                        seconds=warm_up + options.seconds,
                        connections=options.connections,
                        seed=number,
                    )
                )
            )
            goodputs.append(opened[-1].steady_requests_per_s(warm_up, within_s=options.deadline))
            cpu_ms.append({part: used - cpu[part] for part, used in server.cpu_s().items()})
            counts.append((batches(before, between), batches(between, server.counts(options.model))))
            print(
                f"round {number + 1}: capacity {capacities[-1]:6.1f}/s, offered {options.times:g} times: "
                f"{goodputs[-1]:6.1f}/s good, {_late(opened[-1], options.deadline)} late, {opened[-1].statuses}",
                flush=True,
            )
    own = [median([result.cpu_s / result.seconds / CORES for result in results]) for results in (closed, opened)]
    seconds = sum(result.seconds for result in opened)
    capacity, goodput = median(capacities), median(goodputs)
    report: dict[str, Any] = {
        **about(options.model),
        "deadlineS": options.deadline,
        "capacity": {
            "clients": options.clients,
            "requestsPerS": round(capacity, 1),
            "p99Ms": round(median([result.percentile_ms(0.99) for result in closed]), 1),
            "loadGeneratorCpuShare": round(own[0], 3),
            **counts[-1][0],
        },
        "overload": {
            "offeredPerS": round(options.times * capacity, 1),
            "goodPerS": round(goodput, 1),
            "lateAnswers": sum(_late(result, options.deadline) for result in opened),
            "p50Ms": round(median([result.percentile_ms(0.5) for result in opened]), 1),
            "p99Ms": round(median([result.percentile_ms(0.99) for result in opened]), 1),
            "statuses": statuses(opened),
            "loadGeneratorCpuShare": round(own[1], 3),
            "cpuShare": {part: round(sum(used[part] for used in cpu_ms) / seconds / CORES, 3) for part in cpu_ms[0]},
            **counts[-1][1],
        },
        "goodputToCapacity": round(goodput / capacity, 3),
        "goodputToCapacityLoadCountedOut": round(goodput / (1 - own[1]) / (capacity / (1 - own[0])), 3),
    }
    tell(report, options.output)


def _options() -> argparse.Namespace:
    parser = common_options(__doc__, model=NAME, clients=256, seconds=8.0, rounds=5)
    parser.add_argument("--engine", default="auto", help="INGRAIN_ENGINE of the server")
    parser.add_argument("--times", type=float, default=2.0, help="offered load by capacity")
    parser.add_argument("--deadline", type=float, default=2.0, help="seconds after which nobody wants an answer")
    parser.add_argument("--connections", type=int, default=4_000, help="requests that may be on their way at once")
    return parser.parse_args()


def _late(result: LoadResult, deadline: float) -> int:
    return sum(latency > deadline for latency in result.latencies_s)


if __name__ == "__main__":
    main()
