"""A full disk or no memory during a conversion is never "this network cannot be converted to ONNX"."""

import logging
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import export_in_process
import faults_in_process as in_process
import pytest

from ingrain.errors import DiskFullError, OutOfMemoryError
from ingrain.export.process.runner import WORKER, run_export

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_a_graph_that_a_full_disk_does_not_take_says_so(
    exporting: ProcessPoolExecutor, tmp_path: Path, exporter: str
) -> None:
    found = exporting.submit(in_process.write_to_a_full_disk, exporter, tmp_path / "model.onnx").result()
    assert found == "DiskFullError"


def test_a_graph_that_memory_does_not_hold_says_so(exporting: ProcessPoolExecutor, tmp_path: Path) -> None:
    assert exporting.submit(in_process.write_without_memory, tmp_path / "model.onnx").result() == "OutOfMemoryError"


def test_a_proof_without_memory_is_no_size_that_was_fixed_while_exporting(
    exporting: ProcessPoolExecutor, tmp_path: Path
) -> None:
    assert exporting.submit(in_process.prove_without_memory, tmp_path / "model.onnx").result() == "OutOfMemoryError"


async def test_a_conversion_whose_files_do_not_fit_names_the_disk_and_writes_why_into_our_log(
    exporting: ProcessPoolExecutor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The very process of the server, under a limit on the size of files that the graph alone exceeds."""
    exporting.submit(export_in_process.build, "BERT", tmp_path / "models" / "model").result()
    limit = (tmp_path / "models" / "model" / "model.safetensors").stat().st_size // 2
    job = export_in_process.job_of(tmp_path)
    command = ("prlimit", f"--fsize={limit}", *WORKER)
    with caplog.at_level(logging.INFO), pytest.raises(DiskFullError, match="again later"):
        await run_export(job, timeout_s=300, on_progress=lambda _: None, command=command)
    (record,) = [record for record in caplog.records if "wrote:" in record.getMessage()]
    assert record.levelno == logging.ERROR
    assert "File too large" in record.getMessage()


async def test_a_conversion_without_memory_says_so(exporting: ProcessPoolExecutor, tmp_path: Path) -> None:
    """Half a gigabyte does not even hold torch."""
    exporting.submit(export_in_process.build, "BERT", tmp_path / "models" / "model").result()
    command = ("prlimit", "--as=500000000", *WORKER)
    with pytest.raises(OutOfMemoryError, match="again later"):
        await run_export(export_in_process.job_of(tmp_path), timeout_s=300, on_progress=lambda _: None, command=command)
