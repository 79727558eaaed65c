"""The export process: reads one job from stdin, and writes its progress and its result to stdout."""

from __future__ import annotations

import ctypes
import dataclasses
import gc
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

from ingrain.errors import ExportError, ExportUnavailableError, IngrainError
from ingrain.export.process.job import Event, ExportJob, Failed, Finished
from ingrain.machine_faults import machine_fault
from ingrain.progress import Progress
from ingrain.repository.manifest import Manifest

if TYPE_CHECKING:
    from ingrain.sources.model_source import ResolvedSource

_PR_SET_PDEATHSIG = 1
_STDIN, _STDOUT, _STDERR = 0, 1, 2


def main() -> int:
    """Run one export and return the exit status: 0 when an end event (finished or failed) was written."""
    emit = _take_stdout()
    job = _read_job()
    _die_with_parent()
    try:
        emit(Finished(manifest=run_job(job, emit)))
    except IngrainError as error:
        # The message says what a user or an operator has to know; the place in the code matters for our own faults.
        if isinstance(error, ExportError) and not isinstance(error, ExportUnavailableError):
            traceback.print_exc()
        emit(Failed.of(error))
    except Exception as error:  # the last line of defence: the parent must get an end event, whatever a library raises
        traceback.print_exc()
        unexpected = ExportError(
            f"Exporting {job.name!r} failed with an unexpected {type(error).__name__}; "
            "the server's log has the details."
        )
        emit(Failed.of(machine_fault(error) or unexpected))
    return 0


def run_job(job: ExportJob, emit: Callable[[Event], None]) -> Manifest:
    """Resolve, export and verify one model, and write it to the job's output folder; or prove one that is stored.

    Returns:
        The manifest, which of an export is also written as ``model/manifest.json``.

    Raises:
        IngrainError: The model cannot be had, converted or proved.
    """
    from ingrain.export.families.convert import convert
    from ingrain.export.families.protocol import LoadableFolder
    from ingrain.export.families.table import family_of, import_library
    from ingrain.export.process.verify_stored import find_stored, prove_stored
    from ingrain.export.weights.pickled_weights import UNPICKLED_FOLDER, unpickle
    from ingrain.sources.names import needs_registry
    from ingrain.sources.open_clip import LINKED_FOLDER
    from ingrain.sources.resolve import resolve

    def refuse_code(found: ResolvedSource) -> None:
        if family.refuse_untrusted_code is not None:
            family.refuse_untrusted_code(job, found)

    emit(Progress(phase="download"))
    family = family_of(job.library, job.extensions)
    if needs_registry(job):
        _prepare_torch()
        import_library(family)  # says it now, where the library is not installed
    source = resolve(job, emit, refuse_code)
    if source.origin == "custom":
        # Whatever the operator allows for the hub: what a URL gave is safetensors, and brings no code of its own.
        job = msgspec.structs.replace(job, pickled_weights=False)
    emit(Progress(phase="read"))
    # Before the imports, which take seconds: damage needs none of them to be found.
    stored = None if job.stored_in is None else find_stored(job, job.stored_in)
    _prepare_torch()
    import_library(family)
    _spare_libraries_collection()
    refuse_code(source)
    source = dataclasses.replace(source, folder=unpickle(source.folder, job, family.weights))
    loadable = LoadableFolder(source.folder)
    if family.prepare_folder is not None:
        loadable = family.prepare_folder(job, source, emit)
    if not loadable.runs_code:
        job = msgspec.structs.replace(job, trust_remote_code=())  # so that whatever else is named is not run either
    if stored is not None:
        manifest = prove_stored(job, stored, family, loadable.folder, emit)
        return msgspec.structs.replace(manifest, code=loadable.code)
    manifest = convert(job, family.open(job, loadable.folder), source.commit, emit)
    manifest = msgspec.structs.replace(manifest, code=loadable.code)
    # What lay apart was linked together there, and pickles were written anew; neither is a part of the result.
    for scratch in (LINKED_FOLDER, UNPICKLED_FOLDER):
        shutil.rmtree(Path(job.output) / scratch, ignore_errors=True)
    (Path(job.output) / "model" / "manifest.json").write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
    return manifest


def _take_stdout() -> Callable[[Event], None]:
    """Keep stdout for events alone: from here on, what libraries print goes to stderr, C code included."""
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
                os._exit(1)  # nobody listens any more

    return emit


def _read_job() -> ExportJob:
    """Read the job, and leave stdin open: its end is how a dead parent is noticed."""
    return msgspec.json.decode(sys.stdin.buffer.readline(), type=ExportJob)


def _die_with_parent() -> None:
    """End this process when its parent does, so that a killed server leaves no export behind."""
    threading.Thread(target=_exit_at_end_of_stdin, name="parent-watch", daemon=True).start()
    if sys.platform == "linux":
        # The kernel's own way works even while a library holds the GIL, which would starve the thread above.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _exit_at_end_of_stdin() -> None:
    while os.read(_STDIN, 4096):
        pass
    os._exit(1)


def _prepare_torch() -> None:
    """Set threads and mend torchvision before the first import of a source library."""
    import torch

    from ingrain.export.process import torchvision_shim
    from ingrain.export.process.threads import export_threads

    threads = export_threads()
    if threads:
        torch.set_num_threads(threads)
    torchvision_shim.install()


def _spare_libraries_collection() -> None:
    """Have the garbage collector pass over the million objects that importing made: a fifth of a small export's time.

    Comes before the source is loaded, so that nothing of a model is among them.
    """
    if not gc.get_freeze_count():
        gc.freeze()


if __name__ == "__main__":
    sys.exit(main())
