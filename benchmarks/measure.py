"""What the benchmarks of a whole server have in common: a load on it, and what it did meanwhile."""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import platform
import random
from pathlib import Path

import uvloop

from bare import median
from ingrain.bench.load import LoadResult, Target, closed_loop
from ingrain.cores import usable_cores
from server import Server

CORES = usable_cores()


class Meter:
    """Loads a server with one model again and again, and reports on all of it."""

    def __init__(self, server: Server, model: str, requests: list[bytes], *, clients: int, seconds: float) -> None:
        self._server = server
        self._model = model
        self._requests = list(requests)
        self._clients = clients
        self._seconds = seconds
        self._results: list[LoadResult] = []
        self._cpu_s: dict[str, float] = {}
        self._counts_before = self._counts()

    def run(self) -> LoadResult:
        """Keep the clients busy once, for the seconds of a round."""
        random.shuffle(self._requests)
        before = self._server.cpu_s()
        loop = uvloop.new_event_loop()
        try:
            load = closed_loop(
                Target("127.0.0.1", self._server.inference_port),
                self._requests,
                clients=self._clients,
                seconds=self._seconds,
            )
            result = loop.run_until_complete(load)
        finally:
            loop.close()
            asyncio.set_event_loop(None)
        for part, used in self._server.cpu_s().items():
            self._cpu_s[part] = self._cpu_s.get(part, 0.0) + used - before[part]
        self._results.append(result)
        return result

    def report(self, bare: list[float]) -> dict:
        """Describe all runs beside those of the yardstick, in items by second."""
        rate = median([result.requests_per_s for result in self._results])
        before, after = self._counts_before, self._counts()
        cpu = {**self._cpu_s, "load generator": sum(result.cpu_s for result in self._results)}
        wall = sum(result.seconds for result in self._results)
        items = sum(len(result.latencies_s) for result in self._results)
        return {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "machine": f"{CORES} cores, {platform.machine()}",
            "model": self._model,
            "clients": self._clients,
            "served": {
                "itemsPerS": rate,
                "p50Ms": median([result.percentile_ms(0.5) for result in self._results]),
                "p99Ms": median([result.percentile_ms(0.99) for result in self._results]),
                "statuses": self._statuses(),
            },
            "meanBatchOfTriton": (after[0] - before[0]) / max(1, after[1] - before[1]),
            "cpuShareOfAllCores": {part: round(used / (wall * CORES), 3) for part, used in cpu.items()},
            "cpuMsPerItem": {part: round(1e3 * used / items, 2) for part, used in cpu.items()},
            "ratioToBare": rate / median(bare),
        }

    def _counts(self) -> tuple[int, int]:
        stats = next(stats for stats in self._server.get("/metrics")["modelStats"] if stats["name"] == self._model)
        return int(stats["inferenceCount"]), int(stats["executionCount"])

    def _statuses(self) -> dict[str, int]:
        statuses: dict[str, int] = {}
        for result in self._results:
            for status, count in result.statuses.items():
                statuses[str(status)] = statuses.get(str(status), 0) + count
        return statuses


def common_options(
    description: str | None, *, model: str, clients: int, seconds: float = 4.0
) -> argparse.ArgumentParser:
    """Return the flags that every benchmark of a server has, with its own defaults."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--repository", type=Path, default=Path(".run/repository"))
    parser.add_argument("--models-dir", type=Path, default=Path(".run/models"))
    parser.add_argument("--model", default=model, help="folder below the directory of models")
    parser.add_argument("--clients", type=int, default=clients)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=seconds)
    parser.add_argument("--output", type=Path, help="write the report as JSON too")
    return parser


def tell(report: dict, output: Path | None) -> None:
    """Print a report, and write it where that is wanted."""
    text = json.dumps(report, indent=2)
    print(text)
    if output:
        output.write_text(text + "\n")
