"""The wheel that people install holds all that the package needs, and nothing else."""

from __future__ import annotations

import email
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"),
            *("--wheel-dir", str(folder), str(ROOT)),
        ],
        check=True,
        timeout=120,
    )
    with zipfile.ZipFile(next(folder.glob("ingrain-*.whl"))) as archive:
        yield archive


def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel):
    """Every file of src/ingrain is in it, the type marker and the backend's model.py too; no test, no document."""
    source = ROOT / "src"
    files = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert {"ingrain/py.typed", "ingrain/python_backend/model.py"} <= files
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == files


def test_the_wheel_names_its_licence_its_command_and_its_extras(wheel):
    """The metadata carries what an index shows and what `pip install 'ingrain[serve]'` needs."""
    info = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")).rpartition("/")[0]
    metadata = email.message_from_bytes(wheel.read(f"{info}/METADATA"))
    assert metadata["License-Expression"] == "Apache-2.0"
    assert wheel.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert set(metadata.get_all("Provides-Extra")) == {
        "serve",
        "triton",
        "export",
        "parquet",
        "bench",
        "heic",
        "ray",
        "spark",
        "object-storage",
        "otel",
        "signed-bundles",
        "japanese",
        "all",
    }
    assert metadata["Requires-Python"] == ">=3.11"
    assert "ingrain = ingrain.cli.main:main" in wheel.read(f"{info}/entry_points.txt").decode()


def test_the_bare_install_is_small(wheel):
    """Without an extra, only the six packages of client and command come along."""
    info = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = email.message_from_bytes(wheel.read(info))
    bare = {text.split(">")[0] for text in metadata.get_all("Requires-Dist") if "extra ==" not in text}
    assert bare == {"httpx", "msgspec", "numpy", "orjson", "shtab", "tqdm"}
