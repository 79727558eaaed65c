"""Breaks a running server in every known way while clients that retry check every vector that they get.

Each set-up runs on its own, with small models whose graphs are real. A request is repeated until it is answered, with
Retry-After honoured, for at most a minute; its vectors are compared with those that the same server gave before. Prints
what clients got, the longest outage and recovery of each fault, and the memory of each process. Exits with 1 if a
vector was wrong, a request lost, an answer 500, or an outage too long.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from chaos.faults import FAULTS
from chaos.faults.registration import Limit
from chaos.outcome import Outcome
from chaos.run import end_on_sigterm, run_set_up
from chaos.set_up import FRONT_ENDS, NAMES

SHORT = {
    "embedded": ("kill_stub", "limited_files", "damaged_list"),
    "workers": ("kill_worker_and_restart",),
    "external": ("reset", "silent_connections", "unload_by_hand"),
    "tritons": ("kill_triton", "stop_triton_until_it_is_left"),
}
"""The faults of the short form, which `make check` runs: each once, in this order.

Without a killed Triton and a killed worker, for which there are end-to-end tests of their own.
"""


def main() -> None:
    """Run set-ups and faults as the command line says."""
    options = _options()
    limits: dict[Limit, float] = {
        "outage": options.limit,
        "worker": options.worker_limit,
        "hang": options.hang_limit,
    }
    folder = Path(tempfile.mkdtemp(prefix="ingrain-chaos-"))
    outcomes = asyncio.run(_run(options, folder))
    failures = [line for outcome in outcomes for line in outcome.failures(limits)]
    for outcome in outcomes:
        print("\n".join(outcome.lines()))
    print("\n".join(f"FAILED {line}" for line in failures) or "Nothing wrong, nothing lost.")
    if options.output is not None:
        report = {"seed": options.seed, "setUps": [outcome.report() for outcome in outcomes], "failures": failures}
        options.output.write_text(json.dumps(report, indent=2) + "\n")
    if failures:
        sys.exit(f"The servers' logs are in {folder}; the same order of faults: --seed {options.seed}")
    shutil.rmtree(folder)


async def _run(options: argparse.Namespace, folder: Path) -> list[Outcome]:
    end_on_sigterm()
    outcomes = []
    for name in options.set_up:
        faults, seconds = (SHORT[name], None) if options.short else (options.faults, options.seconds)
        done = await run_set_up(
            name,
            folder / name,
            faults,
            options.seed,
            seconds,
            pictures=not options.short,
            front_ends=options.front_ends,
        )
        outcomes.append(done)
    return outcomes


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set-up", type=_names_of(NAMES), default=NAMES, help=f"of {', '.join(NAMES)}; default: all")
    parser.add_argument(
        "--faults", type=_names_of(FAULTS), default=tuple(FAULTS), help="default: all; --list tells them"
    )
    parser.add_argument("--seconds", type=float, default=600, help="for each set-up (default: 600)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the order of faults and victims")
    parser.add_argument("--short", action="store_true", help="a few faults, each once: the form of `make check`")
    parser.add_argument(
        "--front-ends",
        type=int,
        default=FRONT_ENDS,
        metavar="N",
        help=f"beside Tritons (default: {FRONT_ENDS})",
    )
    parser.add_argument("--limit", type=float, default=10, help="longest outage in seconds (default: 10)")
    parser.add_argument("--worker-limit", type=float, default=3, help="the same when one worker ends (default: 3)")
    parser.add_argument("--hang-limit", type=float, default=20, help="the same of a process that hangs (default: 20)")
    parser.add_argument("--output", type=Path, help="write the result to this file as JSON")
    parser.add_argument("--list", action="store_true", help="list the faults and end")
    options = parser.parse_args()
    if options.list:
        for fault in FAULTS.values():
            print(f"{fault.name:<24} {fault.inflict.__doc__} ({', '.join(fault.set_ups)})")
        sys.exit(0)
    return options


def _names_of(known: object) -> object:
    def parse(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        if unknown := [name for name in names if name not in known]:  # type: ignore[operator]
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(known)}")  # type: ignore[arg-type]
        return names

    return parse


if __name__ == "__main__":
    main()
