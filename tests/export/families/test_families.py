"""The table of model families: what is in it, and what joins it from outside."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from ingrain.errors import UnsupportedModelError
from ingrain.export.families.table import families, family_of
from ingrain.vocabulary import Library

OUTSIDE = """
from ingrain.export.families.protocol import Family, WeightFiles
FAMILIES = (Family(library="toy", weights=WeightFiles(names=("toy.safetensors",)), open=lambda job, folder: None),)
"""


def test_every_library_has_a_family() -> None:
    assert set(families()) == set(get_args(Library))


def test_a_family_from_outside_joins_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One module with ``FAMILIES``, named in the job; a module without them, such as a dialect's, does no harm."""
    (tmp_path / "toy_family.py").write_text(OUTSIDE)
    (tmp_path / "toy_dialect.py").write_text("ROUTES = ()")
    monkeypatch.syspath_prepend(tmp_path)
    assert family_of("toy", ("toy_dialect", "toy_family")).weights.names == ("toy.safetensors",)
    with pytest.raises(UnsupportedModelError, match="'toy' cannot be exported"):
        family_of("toy")


def test_the_table_is_read_without_torch() -> None:
    """What needs none of a library, such as finding that a model is damaged, does not wait for its import."""
    look = "import sys; from ingrain.export.families.table import families; families(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
