"""Exports models, each in its own process, and keeps the results in a file, from which it writes the table."""

from __future__ import annotations

import argparse
import resource
import traceback
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import msgspec

from compat.forked import run_forked, warm_up, write_file
from ingrain.errors import IngrainError
from ingrain.export.families.convert import convert
from ingrain.export.families.table import family_of
from ingrain.export.process.job import ExportJob
from ingrain.progress import Progress
from ingrain.repository.manifest import Manifest
from ingrain.repository.verification import Verification
from ingrain.vocabulary import Library, Role

_DEADLINE_S = 3600.0


class TowerRow(msgspec.Struct, frozen=True, kw_only=True):
    """Result of the export of one model.

    Attributes:
        name: The library's name of the architecture.
        parameters: Number of exported parameters.
        reduced: Description of the reduction to fit the memory; empty at full size.
        notes: Further notes (a stand-in for a tokenizer).
        fixed_length: True if every text is padded to the context length; None without a text tower.
        embedding_size: Width of the vectors, or the number of classes.
        exporters: The exporters of the proved graphs, by tower.
        verification: The measurements, by role; empty if the export failed.
        error: The error, if the export failed.
        seconds: Wall-clock time on one thread.
        peak_mib: Largest resident memory of the process.
    """

    name: str
    parameters: int = 0
    reduced: str = ""
    notes: str = ""
    fixed_length: bool | None = None
    embedding_size: int = 0
    exporters: dict[str, str] = {}
    verification: dict[Role, Verification] = {}
    error: str = ""
    seconds: float = 0.0
    peak_mib: int = 0

    @property
    def summary(self) -> str:
        """One line for the terminal."""
        if self.error:
            return f"FAILED {self.name}: {self.error}"
        differences = ", ".join(f"{role} {proof.max_abs_diff:.1e}" for role, proof in self.verification.items())
        return f"{self.name}: {differences}; {self.reduced or 'full size'}, {self.seconds:.0f} s, {self.peak_mib} MiB"


Measure = Callable[[str, Path, Callable[[Progress], None]], tuple[TowerRow, Manifest]]


def run_all(
    title: str,
    names: Callable[[], Iterable[str]],
    measure: Measure,
    render: Callable[[dict[str, TowerRow]], str],
    outdated: Callable[[TowerRow], bool] = lambda _: False,
) -> int:
    """Run a command line tool that measures all architectures without a good result.

    The results and the table are written after each model.

    Args:
        title: Suffix of the file names of table and results (``timm``).
        names: Returns all architectures, in the order to run them.
        measure: Builds and exports one architecture; gets its name, an empty folder and a progress callback.
        render: Returns the page for all results; failures are appended to it.
        outdated: Returns True for a good result that must be measured again.

    Returns:
        The exit status: 1 if any architecture failed.
    """
    arguments = _parse(title)
    warm_up()
    results: Path = arguments.results
    rows = msgspec.json.decode(results.read_bytes(), type=dict[str, TowerRow]) if results.is_file() else {}
    for name in arguments.names or names():
        if name in rows and not rows[name].error and not outdated(rows[name]):
            continue
        rows[name] = row = _run(name, measure)
        write_file(results, msgspec.json.format(msgspec.json.encode(dict(sorted(rows.items())))) + b"\n")
        print(row.summary, flush=True)
        failed = [f"| {row.name} | {row.error} |\n" for row in rows.values() if row.error]
        failures = ["\nNot served:\n\n| architecture | reason |\n| --- | --- |\n", *failed] if failed else []
        write_file(arguments.table, (render(rows) + "".join(failures)).encode())
    return int(any(row.error for row in rows.values()))


def _parse(title: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Proves architectures, and writes the results as a table.")
    parser.add_argument("names", nargs="*", help="architectures to run (default: all)")
    default = f"docs/compatibility-{title}"
    parser.add_argument("--table", type=Path, default=Path(f"{default}.md"), help="file of the table")
    parser.add_argument("--results", type=Path, default=Path(f"{default}.json"), help="file of the results")
    return parser.parse_args()


def job_in(folder: Path, name: str, library: Library) -> ExportJob:
    """Return a job with a subfolder of ``folder`` as output."""
    output = folder / "output"
    output.mkdir()
    return ExportJob(name=name, library=library, output=str(output))


def convert_briefly(job: ExportJob, folder: Path, report: Callable[[Progress], None]) -> Manifest:
    """Convert the model in a folder, with a brief proof."""
    return convert(job, family_of(job.library).open(job, folder), None, report, brief=True)


def _run(name: str, measure: Measure) -> TowerRow:
    died = TowerRow(name=name, error="The process ended, or was ended, without a result.")
    return run_forked(partial(_measure, name, measure), died, _DEADLINE_S, lambda row: bool(row.error))


def _measure(name: str, measure: Measure, scratch: Path) -> TowerRow:
    exporters: dict[str, str] = {}

    def note(progress: Progress) -> None:
        if progress.phase == "export":
            tower, _, recipe = progress.detail.partition(", ")
            exporters[tower] = recipe

    try:
        row, manifest = measure(name, scratch, note)
    except IngrainError as error:
        traceback.print_exc()
        row = TowerRow(name=name, error=f"{error.code}: {error.message}")
    except Exception as error:  # the table has a row for every failure
        traceback.print_exc()
        row = TowerRow(name=name, error=f"An unexpected {type(error).__name__}: {str(error)[:300]}")
    else:
        row = msgspec.structs.replace(
            row,
            exporters=exporters,
            verification=manifest.verification,
            embedding_size=manifest.embedding_size,
            fixed_length=manifest.text.fixed_length if manifest.text else None,
        )
    return msgspec.structs.replace(row, peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
