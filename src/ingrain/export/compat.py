"""Exports a small model of everything we know and the real ones at hand, and writes what was measured as a table.

Run as ``python -m ingrain.export.compat``; one process a model. Results are kept in a file beside the table, so that a
run that was cut off goes on, and only what is new is run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ingrain.export.compat_subjects import Subject, subjects
from ingrain.export.compat_table import Result, render
from ingrain.export.job import Event, ExportJob, Failed, Finished, Progress

_DEADLINE_S = 600


def main() -> int:
    """Run what has no result yet, and write the table."""
    arguments = _parse()
    kept: dict[str, Result] = {}
    if arguments.results.is_file() and not arguments.fresh:
        kept = msgspec.json.decode(arguments.results.read_bytes(), type=dict[str, Result])
    chosen = [subject for subject in subjects() if not arguments.only or arguments.only.lower() in subject.key.lower()]
    for subject in chosen:
        if subject.key in kept and not arguments.only:
            continue
        kept[subject.key] = result = run(subject)
        _write(arguments.results, msgspec.json.format(msgspec.json.encode(kept)))
        print(f"{subject.key}: {result.summary}", flush=True)  # noqa: T201  # a command for people
    order = {subject.key: kept[subject.key] for subject in subjects() if subject.key in kept}
    _write(arguments.table, render(order.values()).encode())
    return 1 if any(result.unexpected for result in order.values()) else 0


def run(subject: Subject) -> Result:
    """Build one model and export it in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="ingrain-compat-") as scratch:
        models = Path(scratch) / "models"
        models.mkdir()
        subject.place(models / "model")
        output = Path(scratch) / "output"
        output.mkdir()
        job = ExportJob(name="model", library=subject.library, output=str(output), local_models_dir=str(models))
        started = time.monotonic()
        log = Path(scratch) / "log"
        events = _export(job, log)
        return _judge(subject, events, time.monotonic() - started, log)


def _export(job: ExportJob, log: Path) -> list[Event]:
    environment = {**os.environ, "INGRAIN_EXPORT_THREADS": "1"}
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "ingrain.export.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        # stdin stays open: its end would end the worker.
        process.stdin.write(msgspec.json.encode(job) + b"\n")
        process.stdin.flush()
        deadline = time.monotonic() + _DEADLINE_S
        events: list[Event] = []
        for line in process.stdout:
            events.append(msgspec.json.decode(line, type=Event))
            if time.monotonic() > deadline:
                process.kill()
        process.stdin.close()
        process.wait()
        process.stdout.close()
    return events


def _judge(subject: Subject, events: Iterable[Event], seconds: float, log: Path) -> Result:
    end: Event | None = None
    exporter = ""
    for event in events:
        if isinstance(event, Progress):
            exporter = event.detail if event.phase == "export" else exporter
        else:
            end = event
    result = Result(
        group=subject.group, name=subject.name, seconds=round(seconds, 1), expected_refusal=subject.expected_refusal
    )
    if isinstance(end, Finished):
        graph = end.manifest.graphs[0]
        return msgspec.structs.replace(
            result,
            architecture=end.manifest.architecture,
            exporter=exporter,
            verification=end.manifest.verification[graph.role],
            equal_lengths_only=graph.equal_lengths_only,
        )
    if isinstance(end, Failed):
        if end.code == "export_failed":
            sys.stderr.write(log.read_text(errors="replace")[-3000:])
        return msgspec.structs.replace(result, code=end.code, reason=end.message)
    sys.stderr.write(log.read_text(errors="replace")[-3000:])
    return msgspec.structs.replace(result, code="export_crashed", reason="The process ended without a result.")


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ingrain.export.compat", description=__doc__)
    parser.add_argument("--table", type=Path, default=Path("docs/compatibility.md"), help="where the table goes")
    parser.add_argument("--results", type=Path, default=Path("build/compatibility.json"), help="where results are kept")
    parser.add_argument("--only", help="run again what has this in its name, and nothing else")
    parser.add_argument("--fresh", action="store_true", help="forget kept results")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
