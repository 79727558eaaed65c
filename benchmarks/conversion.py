"""Times the phases of a conversion in a process of its own, as a server starts it; with ``--other``, of two versions.

``--models`` is a folder of local models, ``--other`` the ``src`` folder of another checkout, which needs the packages
installed here. The versions convert in turn. With ``--cold``, the system forgets the files of the packages and of the
model before each conversion, as far as no other process has them open; otherwise a first conversion, which is not
counted, brings them into memory.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from bare import median
from ingrain.cores import usable_cores
from ingrain.export.process.job import ExportJob
from ingrain.export.process.runner import WORKER

_THIS = Path(__file__).parents[1] / "src"
_PHASES = {
    ("download", ""): "start",
    ("read", ""): "imports and two loads",
    ("read", "reference outputs of texts"): "vectors of the source",
    ("export", ""): "export",
    ("verify", "outputs of texts"): "proof",
    ("verify", "vectors of the calibration sample"): "calibration sample",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--other", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cold", action="store_true")
    options = parser.parse_args()
    versions = {"this": _THIS} | ({} if options.other is None else {"other": options.other.resolve()})
    found: dict[str, list[dict[str, float]]] = {name: [] for name in versions}
    packages = [Path(sysconfig.get_paths()[kind]) for kind in ("purelib", "stdlib")]
    for number in range(-(not options.cold), options.rounds):
        for name, source in versions.items():
            if options.cold:
                _forget_files([*packages, options.models, source])
            seconds = _convert(options.model, options.models.resolve(), source)
            if number >= 0:
                found[name].append(seconds)
                print(json.dumps({name: seconds}), file=sys.stderr)
    medians = {
        name: {phase: round(median([run.get(phase, 0.0) for run in runs]), 2) for phase in runs[0]}
        for name, runs in found.items()
    }
    print(json.dumps({"cores": usable_cores(), "cold": options.cold, "rounds": options.rounds, "s": medians}, indent=2))


def _convert(model: str, models: Path, source: Path) -> dict[str, float]:
    """Return the seconds of each phase, of all of them (``total``), and of CPU time."""
    with tempfile.TemporaryDirectory() as folder:
        job = ExportJob(
            name=model,
            library="sentence_transformers",
            output=folder,
            local_models_dir=str(models),
            custom_models_dir=f"{folder}/custom",
            offline=True,
            packs_tokens=True,
        )
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        process = subprocess.Popen(
            WORKER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(source), "TOKENIZERS_PARALLELISM": "false"},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.json.encode(job) + b"\n")
        process.stdin.flush()
        begins, end = {"start": started}, None
        for line in process.stdout:
            event = json.loads(line)
            if event["type"] != "progress":
                end = event
                break
            kind = (event["phase"], "" if event["phase"] == "export" else event.get("detail", ""))
            if kind in _PHASES:
                begins.setdefault(_PHASES[kind], time.monotonic())
        begins["end"] = ended = time.monotonic()
        process.stdin.close()
        process.wait()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if end is None or end["type"] != "finished":
        raise SystemExit(f"The conversion failed: {end}")
    names = list(begins)
    phases = {name: round(begins[later] - begins[name], 3) for name, later in itertools.pairwise(names)}
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {**phases, "total": round(ended - started, 3), "CPU": round(cpu_s, 3)}


def _forget_files(folders: Iterable[Path]) -> None:
    """Have the system drop the contents of files from its memory."""
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                file = os.open(path, os.O_RDONLY)
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(file)


if __name__ == "__main__":
    main()
