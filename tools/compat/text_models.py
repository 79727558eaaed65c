"""Exports a small model of everything we know and the real ones at hand, and writes what was measured as a table.

Run as ``python -m compat.text_models``; one process a model. Results are kept in a file, so that a run that was cut
off goes on: what is new, and what came out wrong, is run.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from compat.forked import run_forked, warm_up
from compat.subjects import Subject, subjects
from compat.table import Result, render
from ingrain.errors import IngrainError
from ingrain.export.process.job import Event, ExportJob
from ingrain.export.process.worker import run_job
from ingrain.progress import Progress
from ingrain.repository.manifest import Manifest, Verification

_DEADLINE_S = 900.0


def main() -> int:
    """Run what has no result yet, write the table, and return 1 where a result is not what it should be."""
    arguments = _parse()
    kept: dict[str, Result] = {}
    if arguments.results.is_file() and not arguments.fresh:
        kept = msgspec.json.decode(arguments.results.read_bytes(), type=dict[str, Result])
    warm_up()
    for subject in subjects():
        wanted = arguments.group in (None, subject.group) and (arguments.only or "").lower() in subject.key.lower()
        known = subject.key in kept and not kept[subject.key].unexpected
        if wanted and (arguments.only or not known):
            kept[subject.key] = result = run(subject)
            _write(arguments.results, msgspec.json.format(msgspec.json.encode(kept)))
            print(f"{subject.key}: {result.summary}", flush=True)  # a command for people
    rows = [kept[subject.key] for subject in subjects() if subject.key in kept]
    _write(arguments.table, render(rows).encode())
    return 1 if any(row.unexpected for row in rows) else 0


def run(subject: Subject) -> Result:
    """Build one model and export it in a process of its own."""
    died = _row(subject, code="export_crashed", reason="The process ended, or was ended, without a result.")
    return run_forked(partial(_export_in, subject), died, _DEADLINE_S, lambda row: row.unexpected)


def _export_in(subject: Subject, scratch: Path) -> Result:
    exporter = ""

    def note(event: Event) -> None:
        nonlocal exporter
        if isinstance(event, Progress) and event.phase == "export":
            exporter = event.detail.removeprefix("text, ")

    (scratch / "models").mkdir()
    (scratch / "output").mkdir()
    job = ExportJob(
        name=subject.model,
        library=subject.library,
        output=str(scratch / "output"),
        local_models_dir=str(scratch / "models"),
    )
    try:
        subject.place(scratch / "models" / subject.model)
        manifest = run_job(job, note)
    except IngrainError as error:
        traceback.print_exc()
        return _row(subject, code=error.code, reason=error.message)
    except Exception as error:  # the table has a row for whatever a library makes of a model
        traceback.print_exc()
        return _row(subject, code="export_failed", reason=f"An unexpected {type(error).__name__}.")
    graph = manifest.graphs[0]
    return _row(
        subject,
        architecture=manifest.architecture,
        exporter=exporter,
        verification=_of_all_graphs(manifest),
        equal_lengths_only=graph.equal_lengths_only,
    )


def _of_all_graphs(manifest: Manifest) -> Verification:
    """Return what was measured of the texts, with the worst of the pictures, where the model takes both."""
    first, *others = (manifest.verification[graph.role] for graph in manifest.graphs)
    return msgspec.structs.replace(
        first,
        max_abs_diff=max(proof.max_abs_diff for proof in (first, *others)),
        min_cosine=min(proof.min_cosine for proof in (first, *others)),
        cases=sum(proof.cases for proof in (first, *others)),
    )


def _row(subject: Subject, **measured: Any) -> Result:
    return Result(
        group=subject.group, name=subject.name, expected_refusal=subject.expected_refusal, seconds=0.0, **measured
    )


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m compat.text_models", description=__doc__)
    parser.add_argument("--table", type=Path, default=Path("docs/compatibility.md"), help="where the table goes")
    parser.add_argument("--results", type=Path, default=Path("build/compatibility.json"), help="where results are kept")
    parser.add_argument("--only", help="run again what has this in its name, and nothing else")
    parser.add_argument("--group", help="run what this table lacks, and nothing else ('Popular models')")
    parser.add_argument("--fresh", action="store_true", help="forget kept results")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
