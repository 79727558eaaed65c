"""Shared by the benchmarks of a whole server: run a load, read the server's counters, report."""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import platform
import random
from collections.abc import Coroutine, Sequence
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
    """Loads a server with one model again and again, and reports on all of it.

    Args:
        server: Has the model loaded.
        model: Its name.
        requests: Prepared ones; shuffled for each round.
        clients: Requests in progress.
        seconds: Of a round; before them a fifth as long is not counted, so that what is in progress at the start of the
            round is as much as at its end.
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
        """Keep the clients busy once, for the seconds of a round, and return the requests answered by second."""
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
        """Describe all runs beside those of the yardstick, in items by second.

        ``ratioToBare`` is the measured ratio. The load generator runs on the same cores, unlike real callers;
        ``ratioToBareLoadCountedOut`` adds its share of the cores to the server's. ``cpuRatioToBare`` is the
        yardstick's CPU time of an item by that of all the server's processes; it stays true on a busy machine.
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
        """Return a yardstick's own figures, and the three ratios of ``report`` to it."""
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
        """Return the mean batch by Triton's own statistics, which include the batches that Triton merged."""
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
    """CPU time that the host has taken from this virtual machine since construction, as a share of all cores' time."""

    def __init__(self) -> None:
        self._before = psutil.cpu_times()

    def share(self) -> float:
        """Return the share so far; 0 if the machine does not report it."""
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


def run_facts(model: str) -> dict[str, Any]:
    """Return date, machine, load average and model for a report."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{CORES} cores, {platform.machine()}",
        "loadAverage": round(os.getloadavg()[0], 1),
        "model": model,
    }


def batches(before: ServerCounts | None, after: ServerCounts | None) -> dict[str, float]:
    """Return the mean batch and the share of padding between two readings of a server's counters."""
    if before is None or after is None:
        return {}
    counted = after.since(before)
    return {
        "meanBatch": round(counted.items / max(1.0, counted.batches), 2),
        "paddingShare": round(1 - counted.tokens / max(1.0, counted.padded_tokens), 4),
    }


def statuses(results: Sequence[LoadResult]) -> dict[str, int]:
    """Return the answers of several runs by status, and the requests that got none."""
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
    """Return the flags that every benchmark of a server has, with its own defaults."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--repository", type=Path, default=Path(".run/repository"))
    parser.add_argument("--models-dir", type=Path, default=Path(".run/models"))
    parser.add_argument("--model", default=model, help="folder below the directory of models")
    parser.add_argument("--clients", type=int, default=clients)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--seconds", type=float, default=seconds, help="of a round")
    parser.add_argument("--output", type=Path, help="write the report as JSON too")
    return parser


def print_report(report: dict, output: Path | None) -> None:
    """Print a report, and write it to a file if one is given."""
    text = json.dumps(report, indent=2)
    print(text)
    if output:
        output.write_text(text + "\n")
