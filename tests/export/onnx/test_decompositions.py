"""Operators are replaced without tracing the network again, and the graph is the one of torch's own passes."""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import programs_in_process as in_process
import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "falls_back"),
    [
        ("replaced", False),
        ("in_place", False),
        ("in_place_of_a_view", True),
        ("a_view_of_what_changes_later", True),
    ],
)
def test_a_program_becomes_the_same_graph(
    exporting: ProcessPoolExecutor, tmp_path: Path, name: str, falls_back: bool
) -> None:
    ours, theirs, own_passes, difference = exporting.submit(in_process.written, name, tmp_path / "model.onnx").result()
    assert ours == theirs
    assert own_passes == falls_back
    assert difference < 1e-5
