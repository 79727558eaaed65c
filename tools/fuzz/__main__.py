"""``make fuzz``: fuzz a real server by its documents, with other bodies, pictures and bytes, and its tokenizing."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from fuzz.bodies import fuzz_bodies
from fuzz.documents import Outcome, fuzz_document
from fuzz.models import LIBRARIES, write_repository
from fuzz.tokenizers import fuzz_tokenizers
from processes import ServerProcess, serve

_CASES = 20_000
_CASES_SHORT = 100


def main() -> int:
    """Run the parts that were asked for; return 1 if one of them has found something."""
    parser = argparse.ArgumentParser(prog="make fuzz")
    parser.add_argument("--cases", type=int, default=_CASES, help="cases a part; each plane's document is a part")
    parser.add_argument("--short", action="store_true", help=f"{_CASES_SHORT} cases a part: less than a minute")
    parser.add_argument("--seed", type=int, default=1, help="other seeds give other cases")
    parser.add_argument("--part", choices=("inference", "model", "bodies", "tokenizers"), help="only this part")
    parser.add_argument("--engine", default="onnxruntime", help="INGRAIN_ENGINE of the server")
    options = parser.parse_args()
    cases = _CASES_SHORT if options.short else options.cases
    found = False
    with tempfile.TemporaryDirectory(prefix="ingrain-fuzz-") as name:
        folder = Path(name)
        write_repository(folder / "repository")
        models = ",".join(f"{library}:{model}" for model, library in LIBRARIES.items())
        flags = (f"--engine={options.engine}", f"--models={models}", "--image-fetch=off", "--request-timeout-s=20")
        with serve(folder, *flags, HF_HUB_OFFLINE="1") as server:
            server.wait_until_ready(60)
            for part, run in _parts(server, folder, cases, options.seed).items():
                if options.part in (None, part):
                    found |= _report(part, run)
            if server.process.poll() is not None:
                print("The server has died:", server.log.read_text()[-5_000:], sep="\n")
                found = True
            elif found:
                print("The end of the server's log:", server.log.read_text()[-5_000:], sep="\n")
    return int(found)


def _parts(server: ServerProcess, folder: Path, cases: int, seed: int) -> dict[str, Callable[[], Iterable[Outcome]]]:
    """Return the parts in order; the model plane comes last, because it unloads and deletes the models."""
    return {
        "tokenizers": lambda: [fuzz_tokenizers(cases, seed)],
        "bodies": lambda: fuzz_bodies(server.inference, cases, seed),
        "inference": lambda: [fuzz_document(server.inference, folder, cases, seed)],
        "model": lambda: [fuzz_document(server.model, folder, cases, seed)],
    }


def _report(part: str, run: Callable[[], Iterable[Outcome]]) -> bool:
    began = time.monotonic()
    outcomes = list(run())
    cases = sum(outcome.cases for outcome in outcomes)
    failures = [outcome.failure for outcome in outcomes if outcome.failure]
    print(f"{part}: {cases} cases in {time.monotonic() - began:.0f} s, {len(failures) or 'nothing'} found", flush=True)
    for failure in failures:
        print(failure)
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
