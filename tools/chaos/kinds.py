"""Asks one server for models of six kinds at once, while another client unloads and loads each of them.

The kinds are dense and sparse vectors of texts, several vectors a text, pictures, a reranker and a classifier of texts.
Each item is first asked for alone; these numbers are the reference. Clients that retry then ask for one or several
items; meanwhile one model after the other is unloaded and loaded again. Exits with 1 if a number was wrong, a request
lost, or an answer one that no client should get: 500, 503 without Retry-After, or 404 for a model that nobody unloaded.
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

import httpx

from chaos.kinds_asked import make_questions_of_kinds
from chaos.load import Load
from chaos.outcome import Outcome
from processes import ServerProcess, serve
from search_models import KINDS, flag_of_models, library_of, place_search_models

CLIENTS = 12
# A client's answer of 404 may arrive after the answer to the one who has loaded the model again.
_STILL_AWAY_S = 1.0


def main() -> None:
    """Build the models, serve them, and ask as the command line says."""
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="ingrain-kinds-"))
    models = place_search_models(folder / "models")
    with serve(folder, f"--local-models-dir={models}", flag_of_models(), INGRAIN_CACHE_BYTES="0") as server:
        server.wait_until_ready(900)
        outcome, changes = asyncio.run(ask_all_kinds(server, options.seconds, options.seed, options.pause_s))
    failures = outcome.failures({})
    print("\n".join(outcome.lines()[:1]))
    longest_s = max((asked.took_s for asked in outcome.asked), default=0.0)
    print(f"{changes} times unloaded and loaded; the longest request took {longest_s:.1f} s")
    print("\n".join(f"FAILED {line}" for line in failures) or "Nothing wrong, nothing lost.")
    if options.output is not None:
        report = {"seed": options.seed, "changes": changes, "longestS": longest_s, **outcome.report()}
        options.output.write_text(json.dumps({**report, "failures": failures}, indent=2) + "\n")
    if failures:
        sys.exit(f"The server's log is in {folder}")
    shutil.rmtree(folder)


async def ask_all_kinds(
    server: ServerProcess, seconds: float, seed: int, pause_s: float = 0.5, least_changes: int = 0
) -> tuple[Outcome, int]:
    """Ask a server that has loaded the models of ``KINDS``; return what clients got, and the number of changes.

    Args:
        server: The server.
        seconds: How long clients ask.
        seed: Of the questions, their order, and the order in which models are unloaded.
        pause_s: Longest time for which a model is away, and for which none is.
        least_changes: Go on until models were unloaded and loaded so many times.
    """
    rng = random.Random(seed)
    away: set[str] = set()
    outcome = Outcome("six kinds")
    load = Load([server.inference], await make_questions_of_kinds(server.inference, rng), CLIENTS, seed, away)
    load.start()
    changes = 0
    try:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends or changes < least_changes:
            for name in rng.sample(list(KINDS.values()), len(KINDS)):
                away.add(name)
                outcome.problems += await _change(server, name, rng.uniform(0, pause_s))
                await asyncio.sleep(_STILL_AWAY_S + rng.uniform(0, pause_s))
                away.discard(name)
                changes += 1
        await load.stop()
    finally:
        load.cancel()
    outcome.asked = load.asked
    return outcome, changes


async def _change(server: ServerProcess, name: str, away_s: float) -> list[str]:
    """Unload a model and load it again; return what went wrong."""
    problems = []
    async with httpx.AsyncClient(base_url=server.model, trust_env=False, timeout=120) as client:
        body: dict[str, Any] = {"name": name, "library": library_of(name)}
        for route in ("/unload_model", "/load_model"):
            answer = await client.post(route, json=body)
            if answer.status_code != 200:
                problems.append(f"{route} of {name} answered {answer.status_code}: {answer.text[:300]}")
            if route == "/unload_model":
                await asyncio.sleep(away_s)
    return problems


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m chaos.kinds", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=300, help="default: 300")
    parser.add_argument("--pause-s", type=float, default=0.5, help="longest absence of a model (default: 0.5)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="write the result to this file as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
