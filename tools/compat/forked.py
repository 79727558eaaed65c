"""Runs work in forked processes, which have all libraries imported and free their memory at exit."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ingrain.export.families.table import families, import_library
from ingrain.export.onnx.quick_exporter import quick_exporter

Row = TypeVar("Row", bound=msgspec.Struct)


def warm_up() -> None:
    """Import everything that an export needs, with one thread, because a process with threads must not fork."""
    os.environ |= {"INGRAIN_EXPORT_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    from tiny_models import prepare_libraries

    prepare_libraries()
    import torch

    import tiny_timm  # noqa: F401

    # Import all families now, so that all rows of a run come from the same version of the code.
    for family in families().values():
        import_library(family)
    torch.set_num_threads(1)
    with quick_exporter():
        torch.onnx.export(torch.nn.Linear(2, 2).eval(), (torch.zeros(1, 2),), dynamo=True, verbose=False)
    gc.collect()
    gc.freeze()  # exempt the loaded objects from garbage collection in the children


def run_forked(work: Callable[[Path], Row], died: Row, deadline_s: float, is_bad: Callable[[Row], bool]) -> Row:
    """Run work in a child process, and return its row with the elapsed seconds.

    Args:
        work: The function to run; gets an empty folder. Its output is shown if its row is bad.
        died: The row for a child that ended without a result.
        deadline_s: Timeout, after which the child is killed.
        is_bad: Returns True for a row that needs attention.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory(prefix="ingrain-compat-") as scratch:
        log = Path(scratch) / "log"
        process = context.Process(target=_child, args=(work, Path(scratch) / "work", log, sender), daemon=True)
        started = time.monotonic()
        process.start()
        sender.close()
        row = died
        if receiver.poll(deadline_s):
            with suppress(EOFError):  # the child died
                row = msgspec.json.decode(receiver.recv_bytes(), type=type(died))
        process.kill()
        process.join()
        receiver.close()
        if is_bad(row):
            sys.stderr.write(log.read_text(errors="replace")[-6000:])
    return msgspec.structs.replace(row, seconds=round(time.monotonic() - started, 1))


def write_file(path: Path, content: bytes) -> None:
    """Write a file, and create its folder if necessary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _child(work: Callable[[Path], msgspec.Struct], folder: Path, log: Path, sender: Any) -> None:
    with log.open("wb", buffering=0) as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    folder.mkdir()
    sender.send_bytes(msgspec.json.encode(work(folder)))
