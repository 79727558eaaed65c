"""Measures what part of the throughput is left while one of three Tritons is away, and whether all of it comes back.

One Triton is killed and started again later, another one is stopped and goes on later. Clients ask all the time, as
many as keep all Tritons busy. Exits with 1 if an answer was not 200, a vector was wrong, or if ten seconds after a
change the throughput is less than the share of the Tritons that are there, by more than a tenth. The Tritons share the
cores of this machine, so more than the share may be left; and what else runs here must stay the same meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from chaos.load import Load, make_questions
from chaos.outcome import Outcome
from chaos.set_up import TRITONS, SetUp, running

_BACK_S = 10.0
_TOLERANCE = 0.1


def main() -> None:
    """Measure as the command line says."""
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="ingrain-shares-"))
    outcome, rates = asyncio.run(_measure(options, folder))
    failures = outcome.failures({})
    if set(outcome.answers()) != {"200"}:
        failures.append(f"answers: {dict(outcome.answers())}")
    for name, share, rate in rates:
        ratio = rate / rates[0][2]
        print(f"{name:<28} {rate:7.1f} requests/s, {ratio:5.2f} of the start; at least {share:.2f} is due")
        if ratio < share - _TOLERANCE:
            failures.append(f"{name}: {ratio:.2f} of the throughput at the start, not {share:.2f}")
    print("\n".join(outcome.lines()[:1]))
    print("\n".join(f"FAILED {line}" for line in failures) or "Nothing wrong, nothing lost.")
    if options.output is not None:
        report: dict[str, Any] = {"rates": rates, "failures": failures, **outcome.report()}
        options.output.write_text(json.dumps(report, indent=2) + "\n")
    if failures:
        sys.exit(f"The servers' logs are in {folder}")
    shutil.rmtree(folder)


async def _measure(options: argparse.Namespace, folder: Path) -> tuple[Outcome, list[tuple[str, float, float]]]:
    outcome, rates = Outcome("tritons"), []
    rng = random.Random(options.seed)
    async with running("tritons", folder, rng, front_ends=options.front_ends) as set_up:
        questions = await make_questions(set_up.addresses[0], rng, pictures=False)
        load = Load(set_up.addresses, questions, options.clients, options.seed, pause_s=0)
        load.start()

        async def rate(name: str, tritons: int) -> None:
            await asyncio.sleep(_BACK_S)
            began, before = time.monotonic(), len(load.asked)
            await asyncio.sleep(options.seconds)
            rates.append((name, tritons / TRITONS, (len(load.asked) - before) / (time.monotonic() - began)))

        try:
            await rate("all", TRITONS)
            await _take_away_in_turn(set_up, rate)
            await load.stop()
        finally:
            load.cancel()
    outcome.asked, outcome.problems = load.asked, set_up.problems
    return outcome, rates


async def _take_away_in_turn(set_up: SetUp, rate: Any) -> None:
    async with set_up.tritons[0].gone():
        await rate("one killed", TRITONS - 1)
    await _until_whole(set_up)
    await rate("started again", TRITONS)
    stopped = psutil.Process(set_up.tritons[1].pid)
    stopped.suspend()
    try:
        await rate("one stopped", TRITONS - 1)
    finally:
        stopped.resume()
    await _until_whole(set_up)
    await rate("resumed", TRITONS)


async def _until_whole(set_up: SetUp) -> None:
    began = time.monotonic()
    missing = await set_up.until_whole()
    print(f"whole again after {time.monotonic() - began:.1f} s", flush=True)
    if missing:
        set_up.problems.append(missing)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m chaos.shares", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--front-ends", type=int, default=1, help="default: 1")
    parser.add_argument("--clients", type=int, default=24, help="default: 24")
    parser.add_argument("--seconds", type=float, default=15, help="of each measurement (default: 15)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="write the result to this file as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
