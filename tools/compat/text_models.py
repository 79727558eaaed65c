"""Exports a small model of everything we know and the real ones at hand, and writes what was measured as a table.

Run as ``python -m compat.text_models``; one process a model. Results are kept in a file, so that a run that was cut
off goes on: what is new, and what came out wrong, is run.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from compat.subjects import Subject, subjects
from compat.table import Result, render
from ingrain.errors import IngrainError
from ingrain.export.families.table import family_of, import_library
from ingrain.export.process.job import Event, ExportJob, Progress
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
    _warm_up()
    for subject in subjects():
        wanted = arguments.group in (None, subject.group) and (arguments.only or "").lower() in subject.key.lower()
        known = subject.key in kept and not kept[subject.key].unexpected
        if wanted and (arguments.only or not known):
            kept[subject.key] = result = run(subject, arguments.results.parent)
            _write(arguments.results, msgspec.json.format(msgspec.json.encode(kept)))
            print(f"{subject.key}: {result.summary}", flush=True)  # a command for people
    rows = [kept[subject.key] for subject in subjects() if subject.key in kept]
    _write(arguments.table, render(rows).encode())
    return 1 if any(row.unexpected for row in rows) else 0


def run(subject: Subject, logs: Path) -> Result:
    """Build one model and export it in a process of its own.

    Args:
        subject: The model.
        logs: Folder that gets what the process printed, where something went wrong.
    """
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / "compatibility.log"
    # Forked, so that the libraries are imported once for all models.
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_export, args=(subject, log, sender), daemon=True)
    started = time.monotonic()
    process.start()
    sender.close()
    end: Result | None = None
    if receiver.poll(_DEADLINE_S):
        with suppress(EOFError):  # it died; that is told below
            end = msgspec.json.decode(receiver.recv_bytes(), type=Result)
    process.kill()
    process.join()
    receiver.close()
    end = end or _row(subject, code="export_crashed", reason="The process ended, or was ended, without a result.")
    if end.unexpected:
        sys.stderr.write(log.read_text(errors="replace")[-4000:])
    return msgspec.structs.replace(end, seconds=round(time.monotonic() - started, 1))


def _export(subject: Subject, log: Path, sender: Any) -> None:
    """Export one model; the child's side."""
    with log.open("wb", buffering=0) as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    with tempfile.TemporaryDirectory(prefix="ingrain-compat-") as scratch:
        sender.send_bytes(msgspec.json.encode(_export_in(subject, Path(scratch))))


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


def _warm_up() -> None:
    """Import all that an export needs, and use one thread: forked children must find no threads."""
    os.environ |= {"INGRAIN_EXPORT_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    from tiny_models import prepare_libraries

    prepare_libraries()
    for library in {subject.library for subject in subjects()}:
        import_library(family_of(library))
    import torch

    torch.set_num_threads(1)
    torch.onnx.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),), dynamo=True, verbose=False)


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
