"""Writing a torch module as ONNX: the shortened way of the exporter, and the memory that it leaves behind."""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import clip_in_process as in_process
import pytest

pytestmark = pytest.mark.slow


def test_rules_that_cannot_apply_are_left_out_and_nothing_else(exporting: ProcessPoolExecutor, tmp_path: Path) -> None:
    ours, plain = exporting.submit(in_process.operators_of_rewriting, tmp_path / "model.onnx").result()
    assert ours == plain
    # What rules have left of two of each.
    assert (ours.count("Relu"), ours.count("Transpose")) == (1, 0)


def test_a_written_tower_leaves_the_memory(exporting: ProcessPoolExecutor, tmp_path: Path) -> None:
    """The exporter's rules kept the last graph, so that the next tower came on top of the whole model before it."""
    assert not any(exporting.submit(in_process.weights_after_writing, tmp_path / "model.onnx").result())
