"""`make test` exports a model of each family, and serves each task on each engine."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ingrain.engine.table import ENGINES

ROOT = Path(__file__).parents[2]
TASKS = {
    "test_texts_are_embedded",
    "test_images_are_embedded",
    "test_texts_and_images_are_embedded_together",
    "test_images_are_classified",
    "test_images_are_classified_by_words",
}


@pytest.fixture(scope="module")
def slow_and_selected():
    """The ids of all slow tests that `make test` runs; files that do not name the mark have none."""
    (selection,) = re.findall(r'\$\(TESTS\) -m "(.+)"', (ROOT / "Makefile").read_text())
    files = [path for part in ("export", "e2e") for path in (ROOT / "tests" / part).rglob("test_*.py")]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "--collect-only",
            "-q",
            "-m",
            f"slow and ({selection})",
            *(str(path) for path in files if "mark.smoke" in path.read_text(encoding="utf-8")),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if "::" in line]


def test_a_model_of_each_family_is_exported(slow_and_selected):
    families = [path.parent.name for path in (ROOT / "src/ingrain/export/families").glob("*/__init__.py")]
    assert len(families) >= 3
    for family in families:
        folder = f"tests/export/families/{family}/"
        assert any(name.startswith(folder) for name in slow_and_selected), family


@pytest.mark.parametrize("engine", ENGINES)
def test_each_task_is_served_on_each_engine(slow_and_selected, engine):
    served = {name.rpartition("::")[2] for name in slow_and_selected if "test_every_engine.py" in name}
    assert served >= {f"{task}[{engine}]" for task in TASKS}


def test_few_slow_tests_are_selected(slow_and_selected):
    """Else `make test` is no longer what one runs before each commit."""
    assert len(slow_and_selected) < 40
