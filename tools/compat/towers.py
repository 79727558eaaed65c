"""Exports models one process each, keeps what was measured in a file so that a run can go on, and writes the table."""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from ingrain.errors import IngrainError
from ingrain.export.families.convert import convert
from ingrain.export.families.table import families, family_of, import_library
from ingrain.export.onnx.quick_exporter import quick_exporter
from ingrain.export.process.job import ExportJob, Progress
from ingrain.repository.manifest import Library, Manifest, Role, Verification

_DEADLINE_S = 3600.0


class TowerRow(msgspec.Struct, frozen=True, kw_only=True):
    """What the export of one model came to.

    Attributes:
        name: The architecture, as its library writes it.
        parameters: How many were exported.
        reduced: What was cut off to fit the memory; empty at full size.
        notes: What else a reader must know (a stand-in for a tokenizer).
        fixed_length: True where every text is padded to the context length; None without a text tower.
        embedding_size: Width of the vectors, or the number of classes.
        exporters: By role, which way of exporting was proved.
        verification: By role, what was measured; empty where nothing was published.
        error: Why not.
        seconds: Wall-clock time, one thread.
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
    names: Iterable[str],
    measure: Measure,
    results: Path,
    on_row: Callable[[dict[str, TowerRow]], None],
    outdated: Callable[[TowerRow], bool] | None = None,
) -> int:
    """Measure what has no good result yet.

    Args:
        names: Architectures, in the order to run them.
        measure: Builds and exports one; gets its name, an empty folder and a callback for progress.
        results: The file of results; written after each model.
        on_row: Called with all results after each model.
        outdated: True of a good result that is to be measured again.

    Returns:
        How many have failed.
    """
    rows = load_rows(results)
    for name in names:
        if name in rows and not rows[name].error and not (outdated and outdated(rows[name])):
            continue
        rows[name] = row = _run(name, measure)
        results.parent.mkdir(parents=True, exist_ok=True)
        results.write_bytes(msgspec.json.format(msgspec.json.encode(dict(sorted(rows.items())))) + b"\n")
        print(row.summary, flush=True)  # a command for people
        on_row(rows)
    return sum(bool(row.error) for row in rows.values())


def load_rows(results: Path) -> dict[str, TowerRow]:
    """Read kept results, by name."""
    return msgspec.json.decode(results.read_bytes(), type=dict[str, TowerRow]) if results.is_file() else {}


def job_in(folder: Path, name: str, library: Library) -> ExportJob:
    """Return a job whose output goes below a folder."""
    output = folder / "output"
    output.mkdir()
    return ExportJob(name=name, library=library, output=str(output))


def convert_briefly(job: ExportJob, folder: Path, report: Callable[[Progress], None]) -> Manifest:
    """Convert the model in a folder, and prove it with few inputs."""
    return convert(job, family_of(job.library).open(job, folder), None, report, brief=True)


def warm_up() -> None:
    """Import all that an export needs, with one thread: forked children must find no threads."""
    os.environ |= {"INGRAIN_EXPORT_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    from tiny_models import prepare_libraries

    prepare_libraries()
    import torch

    import tiny_timm  # noqa: F401

    # Now, so that all rows of a run come from the same code.
    for family in families().values():
        import_library(family)
    torch.set_num_threads(1)
    with quick_exporter():
        torch.onnx.export(torch.nn.Linear(2, 2).eval(), (torch.zeros(1, 2),), dynamo=True, verbose=False)
    gc.collect()
    gc.freeze()  # what is loaded stays, so that children need not look through it


def _run(name: str, measure: Measure) -> TowerRow:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    log = Path(tempfile.gettempdir()) / f"ingrain-compat-{os.getpid()}.log"
    process = context.Process(target=_child, args=(name, measure, log, sender), daemon=True)
    started = time.monotonic()
    process.start()
    sender.close()
    row: TowerRow | None = None
    if receiver.poll(_DEADLINE_S):
        with suppress(EOFError):  # it died; that is told below
            row = msgspec.json.decode(receiver.recv_bytes(), type=TowerRow)
    process.kill()
    process.join()
    receiver.close()
    row = row or TowerRow(name=name, error="The process ended, or was ended, without a result.")
    if row.error:
        sys.stderr.write(log.read_text(errors="replace")[-6000:])
    log.unlink(missing_ok=True)
    return msgspec.structs.replace(row, seconds=round(time.monotonic() - started, 1))


def _child(name: str, measure: Measure, log: Path, sender: Any) -> None:
    with log.open("wb", buffering=0) as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    exporters: dict[str, str] = {}

    def note(progress: Progress) -> None:
        if progress.phase == "export":
            tower, _, recipe = progress.detail.partition(", ")
            exporters[tower] = recipe

    with tempfile.TemporaryDirectory(prefix="ingrain-compat-") as scratch:
        try:
            row, manifest = measure(name, Path(scratch), note)
        except IngrainError as error:
            traceback.print_exc()
            row = TowerRow(name=name, error=f"{error.code}: {error.message}")
        except Exception as error:  # the table has a row for whatever a library makes of a model
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
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sender.send_bytes(msgspec.json.encode(msgspec.structs.replace(row, peak_mib=peak_kib // 1024)))
