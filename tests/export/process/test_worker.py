"""The export process as the server starts it: one job in, events out, dead when nobody waits."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import export_in_process as in_process
import msgspec
import pytest

from ingrain.export.process.job import Event, ExportJob, Failed

pytestmark = pytest.mark.slow


@contextmanager
def worker(job: ExportJob) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "ingrain.export.process.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "INGRAIN_EXPORT_THREADS": "1"},
    )
    assert process.stdin is not None
    try:
        process.stdin.write(msgspec.json.encode(job) + b"\n")
        process.stdin.flush()
        yield process
    finally:
        process.kill()
        process.communicate()


def events_of(job: ExportJob) -> list[Event]:
    """Run a job to its end; every line on stdout must be an event."""
    with worker(job) as process:
        assert process.stdout is not None
        events = [msgspec.json.decode(line, type=Event) for line in process.stdout]
        assert process.wait(30) == 0
    return events


def test_our_own_errors_arrive_with_their_code_and_message(tmp_path: Path) -> None:
    (tmp_path / "models" / "model").mkdir(parents=True)
    (tmp_path / "models" / "model" / "config.json").write_text('{"model_type": "led"}')
    (tmp_path / "models" / "model" / "model.safetensors").write_bytes(b"")
    *_, end = events_of(in_process.job_of(tmp_path))
    assert isinstance(end, Failed)
    assert end.code == "unsupported_model"
    assert "one text length only" in end.message
    assert end.param == "name"


def test_what_a_library_says_stays_out_of_the_message(exporting: ProcessPoolExecutor, tmp_path: Path) -> None:
    """Weights that are no weights: the reader's own text names the file."""
    folder = exporting.submit(in_process.build, "BERT", tmp_path / "models" / "model").result()
    (folder / "model.safetensors").write_bytes(b"these are no weights")
    *_, end = events_of(in_process.job_of(tmp_path))
    assert isinstance(end, Failed)
    assert end.code == "export_failed"
    assert str(tmp_path) not in end.message
    assert "safetensors" not in end.message


def test_it_ends_at_once_when_the_parent_closes_its_side(exporting: ProcessPoolExecutor, tmp_path: Path) -> None:
    exporting.submit(in_process.build, "BERT", tmp_path / "models" / "model").result()
    with worker(in_process.job_of(tmp_path)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        process.stdin.close()
        started = time.monotonic()
        assert process.wait(30) == 1
        assert time.monotonic() - started < 15
        process.stdin = None  # communicate() below must not flush it
