"""Runs unmodified clients of other APIs against a real server, and writes docs/clients.md."""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from clients.busy_proxy import BusyProxy
from clients.models import KEY, MAX_REQUESTS, NAMES, serving_all
from clients.program import Program, find_programs
from clients.table import count, render
from ingrain import __version__
from processes import free_port

_LONGEST_S = 300


def main() -> None:
    """Run the programs; exit with 1 if a function of one failed."""
    options = _options()
    programs = find_programs(options.programs)
    folder = options.folder.resolve()
    results: dict[Program, dict[str, str]] = {}
    grpc_port = free_port()
    with serving_all(folder / "server", INGRAIN_GRPC_PORT=str(grpc_port)) as server:
        proxy = BusyProxy(urlsplit(server.inference).port or 0, KEY, MAX_REQUESTS)
        urls = {"url": server.inference, "model_url": server.model, "busy_url": proxy.url}
        facts = {**urls, "grpc": f"127.0.0.1:{grpc_port}", "key": KEY, **NAMES}
        for number, program in enumerate(programs, 1):
            print(f"[{number}/{len(programs)}] {program.title}", end=": ", flush=True)
            results[program] = _run(program, folder / "environments", facts)
            print(", ".join(f"{name} {said}" for name, said in results[program].items()), flush=True)
    right, all_cells = count(list(results.values()))
    print(f"{right} of {all_cells} cells of {len(results)} clients")
    if options.output is not None:
        ran = f"{datetime.date.today()}, Ingrain {__version__}, Python {platform.python_version()}"
        options.output.write_text(
            render(results, f"Ran on {ran}: {right} of {all_cells} cells of {len(results)} clients.")
        )
    if right < all_cells:
        sys.exit(1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="clients", description=__doc__)
    parser.add_argument("programs", nargs="*", help="names of programs; all by default")
    parser.add_argument("--folder", type=Path, default=Path(".run/clients"), help="for models and environments; kept")
    parser.add_argument("--output", type=Path, help="page to write, such as docs/clients.md")
    return parser.parse_args()


def _run(program: Program, environments: Path, facts: dict[str, str]) -> dict[str, str]:
    """Return what each function of a program gave."""
    try:
        command = program.install(environments)
    except subprocess.CalledProcessError:
        return {"install": "the packages could not be installed"}
    try:
        ran = subprocess.run([*command, json.dumps(facts)], capture_output=True, text=True, timeout=_LONGEST_S)
    except subprocess.TimeoutExpired:
        return {"program": f"did not end within {_LONGEST_S} s"}
    print(ran.stderr, file=sys.stderr, end="")
    lines = ran.stdout.strip().splitlines()
    try:
        return dict(json.loads(lines[-1]))
    except (IndexError, ValueError):
        return {"program": f"ended with {ran.returncode} and without results"}


if __name__ == "__main__":
    main()
