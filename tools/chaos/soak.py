"""Measures whether any process grows while models come and go, and texts and pictures of all sizes are asked for.

Samples the resident memory of every process every few seconds. A process's growth is the median of the last tenth of
its samples against the median of the first tenth, after settling. The stubs of the models that come and go are left
out. Exits with 1 if a process grew too much, or if a vector was wrong, a request lost, an answer 500.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from chaos.load import Load, make_questions
from chaos.models import MODELS, PICTURES, spare_names
from chaos.outcome import Outcome
from chaos.run import end_on_sigterm
from chaos.set_up import NAMES, SetUp, load, running, unload

_SPARES = 6
_CLIENTS = 8
_SAMPLE_S = 5.0
_MIB = 1 << 20
# Growth below this is the noise of single pages, whatever part of a small process it is.
_LEAST_MIB = 1.0


def main() -> None:
    """Run a soak as the command line says."""
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="ingrain-soak-"))
    report, failures = asyncio.run(_soak(options, folder))
    for name, row in sorted(report["memory"].items()):
        print(f"{name:<24} {row['settledMib']:7.1f} MiB, then {row['endMib']:7.1f} MiB: {row['growth']:+.2%}")
    print(f"{report['requests']} requests, {report['loads']} loads; {report['answers']}")
    print("\n".join(f"FAILED {line}" for line in failures) or "Level.")
    if options.output is not None:
        options.output.write_text(json.dumps({**report, "failures": failures}, indent=2) + "\n")
    if failures:
        sys.exit(f"The servers' logs are in {folder}")
    shutil.rmtree(folder)


def growth_of(samples: list[float]) -> tuple[float, float]:
    """Return the memory of a process at the beginning and at the end of its samples: medians of a tenth of them."""
    tenth = max(1, len(samples) // 10)
    return statistics.median(samples[:tenth]), statistics.median(samples[-tenth:])


async def _soak(options: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], list[str]]:
    end_on_sigterm()
    rng = random.Random(options.seed)
    samples: dict[tuple[str, int], list[float]] = {}
    outcome = Outcome(options.set_up)
    async with running(options.set_up, folder / "soak", rng, spares=_SPARES, pictures=True) as set_up:
        outcome.problems = set_up.problems
        questions = await make_questions(set_up.addresses[0], rng, pictures=True)
        clients = Load(set_up.addresses, questions, _CLIENTS, options.seed)
        clients.start()
        loads = itertools.count()
        coming = asyncio.create_task(_come_and_go(set_up, options.pause_s, loads))
        began = time.monotonic()
        while time.monotonic() < began + options.seconds:
            await asyncio.sleep(_SAMPLE_S)
            _print_now(time.monotonic() - began, found := _resident(set_up))
            if time.monotonic() > began + options.settle_s:
                for key, mib in found.items():
                    samples.setdefault(key, []).append(mib)
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
        await clients.stop()
    outcome.asked = clients.asked
    memory = {}
    for (name, pid), values in samples.items():
        settled, end = growth_of(values)
        key = name if name not in memory else f"{name} ({pid})"
        memory[key] = {"settledMib": settled, "endMib": end, "growth": end / settled - 1, "samples": len(values)}
    failures = outcome.failures({"outage": 0, "worker": 0, "hang": 0})
    failures += [
        f"{name} grew by {row['growth']:.2%}"
        for name, row in memory.items()
        if row["growth"] > options.most_growth and row["endMib"] - row["settledMib"] > _LEAST_MIB
    ]
    answers = dict(outcome.answers())
    report = {"requests": len(outcome.asked), "answers": answers, "loads": next(loads), "memory": memory}
    return report, failures


async def _come_and_go(set_up: SetUp, pause_s: float, loads: itertools.count[int]) -> None:
    """Keep two spare models loaded, and change one of them after each pause."""
    for arriving, leaving in itertools.cycle(_turns(spare_names(_SPARES))):
        for do, name in ((load, arriving), (unload, leaving)):
            answer = await do(set_up, name)
            if answer.status_code not in (200, 404):  # the first one to leave was never there
                set_up.problems.append(f"/{do.__name__}_model answered {answer.status_code}: {answer.text[:300]}")
        next(loads)
        await asyncio.sleep(pause_s)


def _turns(names: list[str]) -> list[tuple[str, str]]:
    return [(name, names[number - 2]) for number, name in enumerate(names)]


def _resident(set_up: SetUp) -> dict[tuple[str, int], float]:
    """Return the resident MiB of each process that runs during the whole soak, by name and process id."""
    lasting = {f"stub {name}" for name in (*MODELS, PICTURES)}
    found = {}
    for name, process in set_up.processes().items():
        if not name.startswith("stub") or name in lasting:
            with contextlib.suppress(psutil.NoSuchProcess):
                found[name, process.pid] = process.memory_info().rss / _MIB
    return found


def _print_now(seconds: float, found: dict[tuple[str, int], float]) -> None:
    if int(seconds / _SAMPLE_S) % 12 == 0:
        parts = ", ".join(f"{name} {mib:.1f}" for (name, _), mib in sorted(found.items()))
        print(f"{seconds:6.0f} s: MiB of {parts}", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m chaos.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set-up", choices=NAMES, default="embedded")
    parser.add_argument("--seconds", type=float, default=1800, help="default: 1800")
    parser.add_argument("--settle-s", type=float, default=300, help="seconds before memory counts (default: 300)")
    parser.add_argument("--pause-s", type=float, default=3, help="between two loads (default: 3)")
    parser.add_argument("--most-growth", type=float, default=0.02, help="of a process (default: 0.02)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="write the result to this file as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
