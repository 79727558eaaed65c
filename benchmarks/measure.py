"""Shared code of the benchmarks of a whole server: puts load on it, reads its counters, and writes the report."""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import platform
import random
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import uvloop

from bare import Rate, median
from ingrain.bench.load import LoadResult, Target, closed_loop
from ingrain.bench.server_side import ServerCounts
from ingrain.cores import usable_cores
from server import Server

CORES = usable_cores()

_WARM_UP_SHARE = 0.2


class Meter:
    """Puts load on a server in several rounds, and reports on all rounds.

    Args:
        server: A server with the model loaded.
        model: Name of the model.
        requests: Prepared requests; shuffled for each round.
        clients: Requests in progress.
        seconds: Duration of a round. A fifth of it runs before as a warm-up, so that as many requests are in progress
            at the start of the measurement as at its end.
    """

    def __init__(self, server: Server, model: str, requests: Sequence[bytes], *, clients: int, seconds: float) -> None:
        self._server = server
        self._model = model
        self._requests = list(requests)
        self._clients = clients
        self._warm_up_s = _WARM_UP_SHARE * seconds
        self._seconds = seconds
        self._results: list[LoadResult] = []
        self._rates: list[float] = []
        self._cpu_s: dict[str, float] = {}
        self._counts_before = self._counts()
        self._engine_before = server.engine_counts(model)

    def run(self) -> float:
        """Run one round and return the answered requests per second."""
        random.shuffle(self._requests)
        before = self._server.cpu_s()
        target = Target("127.0.0.1", self._server.inference_port)
        result = run_loop(
            closed_loop(target, self._requests, clients=self._clients, seconds=self._warm_up_s + self._seconds)
        )
        for part, used in self._server.cpu_s().items():
            self._cpu_s[part] = self._cpu_s.get(part, 0.0) + used - before[part]
        self._results.append(result)
        self._rates.append(result.steady_requests_per_s(self._warm_up_s))
        return self._rates[-1]

    def report(self, bare: Sequence[Rate]) -> dict[str, Any]:
        """Return a report that compares all rounds with those of the baseline, in items per second.

        ``ratioToBare`` is the measured ratio. Unlike real clients, the load generator runs on the server's cores;
        ``ratioToBareLoadCountedOut`` corrects for its share. ``cpuRatioToBare`` is the baseline's CPU time per item
        divided by that of all the server's processes; other load on the machine hardly changes it.
        """
        wall = sum(result.seconds for result in self._results)
        items = self._items
        cpu = {**self._cpu_s, "load generator": self._generator_cpu_s}
        yardstick = self.beside(bare)
        return {
            **run_facts(self._model),
            "clients": self._clients,
            "served": {
                "itemsPerS": round(median(self._rates), 1),
                "p50Ms": median([result.percentile_ms(0.5) for result in self._results]),
                "p99Ms": median([result.percentile_ms(0.99) for result in self._results]),
                "statuses": statuses(self._results),
                **batches(self._counts_before, self._counts()),
                "meanBatchByEngine": self._mean_batch_by_engine(),
            },
            "cpuShareOfAllCores": {part: round(used / (wall * CORES), 3) for part, used in cpu.items()},
            "cpuMsPerItem": {part: round(1e3 * used / items, 3) for part, used in cpu.items()},
            "bare": {key: yardstick.pop(key) for key in ("itemsPerS", "cpuMsPerItem")},
            **yardstick,
        }

    def beside(self, bare: Sequence[Rate]) -> dict[str, float]:
        """Return the figures of a baseline, and the three ratios of ``report``."""
        wall = sum(result.seconds for result in self._results)
        rate, yardstick = median(self._rates), median([one.items_per_s for one in bare])
        bare_cpu_ms = median([one.cpu_ms_per_item for one in bare])
        return {
            "itemsPerS": round(yardstick, 1),
            "cpuMsPerItem": round(bare_cpu_ms, 3),
            "ratioToBare": round(rate / yardstick, 3),
            "ratioToBareLoadCountedOut": round(rate / yardstick / (1 - self._generator_cpu_s / (wall * CORES)), 3),
            "cpuRatioToBare": round(bare_cpu_ms / (1e3 * sum(self._cpu_s.values()) / self._items), 3),
        }

    def _mean_batch_by_engine(self) -> float:
        """Return the mean batch size in Triton's statistics, which count batches that Triton merged as one."""
        (items, executions), (items_before, executions_before) = (
            self._server.engine_counts(self._model),
            self._engine_before,
        )
        return round((items - items_before) / max(1, executions - executions_before), 2)

    @property
    def _items(self) -> int:
        return sum(len(result.latencies_s) for result in self._results)

    @property
    def _generator_cpu_s(self) -> float:
        return sum(result.cpu_s for result in self._results)

    def _counts(self) -> ServerCounts | None:
        return self._server.counts(self._model)


class StolenTime:
    """Measures the share of CPU time that the host has withheld from this virtual machine (steal time)."""

    def __init__(self) -> None:
        self._before = psutil.cpu_times()

    def share(self) -> float:
        """Return the share since construction; 0 if the machine does not report steal time."""
        after = psutil.cpu_times()
        stolen = getattr(after, "steal", 0.0) - getattr(self._before, "steal", 0.0)
        return stolen / max(1e-9, sum(after) - sum(self._before))


def run_loop(load: Coroutine[Any, Any, LoadResult]) -> LoadResult:
    """Run a loop of clients on uvloop."""
    loop = uvloop.new_event_loop()
    try:
        return loop.run_until_complete(load)
    finally:
        loop.close()
        asyncio.set_event_loop(None)


def send_once(port: int, requests: Sequence[bytes], clients: int) -> LoadResult:
    """Have several clients send every request once.

    Unlike a loop of a given time it has all servers do the very same work, however slow one of them is.

    Raises:
        SystemExit: A request got no answer of status 200.
    """
    result = run_loop(closed_loop(Target("127.0.0.1", port), requests, clients=clients, seconds=None))
    if result.failed:
        raise SystemExit(f"{result.failed} of {len(requests)} requests failed: {result.statuses}")
    return result


def send_once_to(server: Server, requests: Sequence[bytes], clients: int, cpu_s: dict[str, float]) -> LoadResult:
    """Do what ``send_once`` does, and add CPU seconds to ``cpu_s``: of the server's parts and the load generator."""
    before = server.cpu_s()
    result = send_once(server.inference_port, requests, clients)
    used = {part: seconds - before.get(part, 0.0) for part, seconds in server.cpu_s().items()}
    for part, seconds in {**used, "load generator": result.cpu_s}.items():
        cpu_s[part] = cpu_s.get(part, 0.0) + seconds
    return result


def run_facts(model: str) -> dict[str, Any]:
    """Return date, machine, load average and model for a report."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{CORES} cores, {platform.machine()}",
        "loadAverage": round(os.getloadavg()[0], 1),
        "model": model,
    }


def batches(before: ServerCounts | None, after: ServerCounts | None) -> dict[str, float]:
    """Return mean batch size and share of padding between two readings of a server's counters."""
    if before is None or after is None:
        return {}
    counted = after.since(before)
    return {
        "meanBatch": round(counted.items / max(1.0, counted.batches), 2),
        "paddingShare": round(1 - counted.tokens / max(1.0, counted.padded_tokens), 4),
    }


def statuses(results: Sequence[LoadResult]) -> dict[str, int]:
    """Return the number of responses of several runs by status, and of requests without a response."""
    found: dict[str, int] = {}
    for result in results:
        for status, count in result.statuses.items():
            found[str(status)] = found.get(str(status), 0) + count
        if result.lost:
            found["lost"] = found.get("lost", 0) + result.lost
    return found


def common_options(
    description: str | None, *, model: str, clients: int, seconds: float | None = 4.0, rounds: int = 9
) -> argparse.ArgumentParser:
    """Return a parser with the flags that all benchmarks of a server have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--repository", type=Path, default=Path(".run/repository"))
    parser.add_argument("--models-dir", type=Path, default=Path(".run/models"))
    parser.add_argument("--model", default=model, help="folder in the directory of models")
    parser.add_argument("--clients", type=int, default=clients)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--seconds", type=float, default=seconds, help="duration of a round")
    parser.add_argument("--output", type=Path, help="write the report as JSON too")
    return parser


def markdown_table(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows of a report as a table in Markdown; the keys of the first are its head."""
    head = [list(rows[0]), ["---"] * len(rows[0])]
    lines = [*head, *([row.get(key, "") for key in rows[0]] for row in rows)]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def print_table(rows: Sequence[Mapping[str, object]], output: Path | None) -> None:
    """Print a table in Markdown, and write it beside the report in JSON if that has a file."""
    table = markdown_table(rows)
    print(table)
    if output:
        output.with_suffix(".md").write_text(table)


def print_report(report: dict, output: Path | None) -> None:
    """Print a report, and write it to a file if given."""
    text = json.dumps(report, indent=2)
    print(text)
    if output:
        output.write_text(text + "\n")
