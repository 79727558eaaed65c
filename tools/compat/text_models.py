"""Exports all models of ``subjects.py``, each in its own process, and writes the results as a table.

Run as ``python -m compat.text_models``. Results are kept in a file, so an interrupted run can be continued: only new
models and those with unexpected results are run again.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from compat.forked import run_forked, warm_up, write_file
from compat.subjects import Subject, subjects
from compat.table import Result, render
from ingrain.errors import IngrainError
from ingrain.export.process.job import Event, ExportJob
from ingrain.export.process.worker import run_job
from ingrain.progress import Progress
from ingrain.repository.manifest import Manifest
from ingrain.repository.verification import Verification

_DEADLINE_S = 900.0


def main() -> int:
    """Run all models without a good result and write the table; return 1 if a result is unexpected."""
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
            write_file(arguments.results, msgspec.json.format(msgspec.json.encode(kept)))
            print(f"{subject.key}: {result.summary}", flush=True)
    rows = [kept[subject.key] for subject in subjects() if subject.key in kept]
    write_file(arguments.table, render(rows).encode())
    return 1 if any(row.unexpected for row in rows) else 0


def run(subject: Subject) -> Result:
    """Build and export one model in its own process."""
    died = _row(subject, code="export_crashed", reason="The process ended, or was ended, without a result.")
    return run_forked(partial(_export_in, subject), died, _DEADLINE_S, lambda row: row.unexpected)


def _export_in(subject: Subject, scratch: Path) -> Result:
    exporter = ""

    def note(event: Event) -> None:
        nonlocal exporter
        if isinstance(event, Progress) and event.phase == "export":
            exporter = event.detail.removeprefix("text, ").removeprefix("query, ")

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
    except Exception as error:  # the table has a row for every failure
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
    """Return the text graph's measurements, combined with the worst of all graphs and their heads."""
    first, *others = (manifest.verification[role] for role in manifest.roles)
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


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m compat.text_models", description=__doc__)
    parser.add_argument("--table", type=Path, default=Path("docs/compatibility.md"), help="file of the table")
    parser.add_argument("--results", type=Path, default=Path("build/compatibility.json"), help="file of the results")
    parser.add_argument("--only", help="run only models with this text in their names, even if they have results")
    parser.add_argument("--group", help="run only the missing models of this group ('Popular models')")
    parser.add_argument("--fresh", action="store_true", help="ignore results of earlier runs")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
