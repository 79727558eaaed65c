"""The export process: reads one job from stdin, and writes progress and result to stdout."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ingrain.errors import ExportError, ExportUnavailableError, IngrainError, MachineError
from ingrain.export.process.job import Event, ExportJob, Failed, Finished
from ingrain.machine_faults import machine_fault
from ingrain.preprocess.tokenizer_faults import is_panic
from ingrain.progress import Progress
from ingrain.repository.manifest import Manifest

if TYPE_CHECKING:
    from ingrain.sources.model_source import ResolvedSource

_PR_SET_PDEATHSIG = 1
_STDIN, _STDOUT, _STDERR = 0, 1, 2


def main() -> int:
    """Run one export; return the exit status 0 after writing a finished or failed event."""
    emit = _take_stdout()
    job = _read_job()
    _die_with_parent()
    try:
        emit(Finished(manifest=run_job(job, emit)))
    except IngrainError as error:
        # Most messages say all that a user needs; a traceback helps with faults of the exporter and of the machine.
        if isinstance(error, ExportError | MachineError) and not isinstance(error, ExportUnavailableError):
            traceback.print_exc()
        emit(Failed.of(error))
    except BaseException as error:  # the parent must get an end event, whatever a library raises
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        traceback.print_exc()
        unexpected = ExportError(
            f"Exporting {job.name!r} failed with an unexpected {type(error).__name__}; "
            "the server's log has the details."
        )
        emit(Failed.of(machine_fault(error) or unexpected))
    return 0


def run_job(job: ExportJob, emit: Callable[[Event], None]) -> Manifest:
    """Fetch, export and prove a model into the job's output folder; or, with ``stored_in``, prove a stored model.

    Returns:
        The manifest; an export also writes it to ``model/manifest.json``.

    Raises:
        IngrainError: The model cannot be fetched, converted or proved.
    """
    from ingrain.export.families.convert import convert
    from ingrain.export.families.protocol import LoadableFolder
    from ingrain.export.families.table import family_of
    from ingrain.export.process.imports import Imports
    from ingrain.export.process.verify_stored import find_stored, prove_stored
    from ingrain.export.weights.pickled_weights import UNPICKLED_FOLDER, unpickle
    from ingrain.sources.names import needs_registry
    from ingrain.sources.open_clip import LINKED_FOLDER
    from ingrain.sources.resolve import resolve

    def refuse_code(found: ResolvedSource) -> None:
        if family.refuse_untrusted_code is not None:
            family.refuse_untrusted_code(job, found)

    def note(progress: Progress) -> None:
        if progress.total:  # bytes are coming: the model exists
            imports.start()
        emit(progress)

    emit(Progress(phase="download"))
    family = family_of(job.library, job.extensions)
    imports = Imports(family)
    if needs_registry(job):
        imports.wait()  # fails before the download if the library is not installed
    source = resolve(job, note, refuse_code)
    if source.origin == "custom":
        # Models given by URLs are safetensors without code, whatever the operator allows for the hub.
        job = msgspec.structs.replace(job, pickled_weights=False)
    emit(Progress(phase="read"))
    # Before the end of the imports, which take seconds, because this check does not need them.
    stored = None if job.stored_in is None else find_stored(job, job.stored_in)
    imports.wait()
    refuse_code(source)
    source = dataclasses.replace(source, folder=unpickle(source.folder, job, family.weights))
    loadable = LoadableFolder(source.folder)
    if family.prepare_folder is not None:
        loadable = family.prepare_folder(job, source, emit)
    if not loadable.runs_code:
        job = msgspec.structs.replace(job, trust_remote_code=())  # the libraries must not run any other code
    if stored is not None:
        manifest = prove_stored(job, stored, family, loadable.folder, emit)
        return msgspec.structs.replace(manifest, code=loadable.code)
    manifest = convert(job, family.open(job, loadable.folder), source.commit, emit)
    manifest = msgspec.structs.replace(manifest, code=loadable.code)
    # The folders of links and of converted pickles are not part of the result.
    for scratch in (LINKED_FOLDER, UNPICKLED_FOLDER):
        shutil.rmtree(Path(job.output) / scratch, ignore_errors=True)
    (Path(job.output) / "model" / "manifest.json").write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
    return manifest


def _take_stdout() -> Callable[[Event], None]:
    """Reserve stdout for events: redirect the output of libraries, including C code, to stderr."""
    stream = os.fdopen(os.dup(_STDOUT), "wb", buffering=0)
    os.dup2(_STDERR, _STDOUT)
    sys.stdout = sys.stderr
    lock = threading.Lock()

    def emit(event: Event) -> None:
        line = msgspec.json.encode(event) + b"\n"
        with lock:
            try:
                stream.write(line)
            except BrokenPipeError:
                os._exit(1)  # the parent is gone

    return emit


def _read_job() -> ExportJob:
    """Read the job, and leave stdin open: its end signals that the parent has died."""
    return msgspec.json.decode(sys.stdin.buffer.readline(), type=ExportJob)


def _die_with_parent() -> None:
    """End this process when its parent ends, so that a killed server leaves no export behind."""
    threading.Thread(target=_exit_at_end_of_stdin, name="parent-watch", daemon=True).start()
    if sys.platform == "linux":
        # The kernel's signal works even while a library holds the GIL, which would block the thread above.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _exit_at_end_of_stdin() -> None:
    while os.read(_STDIN, 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
