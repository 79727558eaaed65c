"""One process with torch for all tests that export, so that the test process itself never imports it."""

import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import export_in_process as in_process
import pytest

from made_once import made_once
from torch_process import torch_pool


@pytest.fixture(scope="session")
def exporting() -> Iterator[ProcessPoolExecutor]:
    """Run functions where torch is, and hand back what they return or raise."""
    with torch_pool() as pool:
        yield pool


@pytest.fixture(scope="session")
def exported(
    exporting: ProcessPoolExecutor, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], in_process.Exported]:
    """Export a small model by its name, once for all tests of the run: its folder is for reading, and for copies."""
    return lambda name: _once(exporting, tmp_path_factory, name, in_process.export)


@pytest.fixture(scope="session")
def exported_with_weights_outside(
    exporting: ProcessPoolExecutor, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], in_process.Exported]:
    """Do the same as if the model were too large for one file."""
    return lambda name: _once(exporting, tmp_path_factory, name, in_process.export_with_weights_outside)


def _once(
    exporting: ProcessPoolExecutor,
    temporary: pytest.TempPathFactory,
    name: str,
    export: Callable[[str, Path], in_process.Exported],
) -> in_process.Exported:
    def make(folder: Path) -> None:
        done = exporting.submit(export, name, folder).result()
        (folder / "exported.pickle").write_bytes(pickle.dumps(done))

    folder = made_once(temporary, f"{export.__name__}, {name}", make)
    done: in_process.Exported = pickle.loads((folder / "exported.pickle").read_bytes())
    return done
