"""The stations import each other in one direction only."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import ingrain

ROOT = Path(__file__).parents[2]
PACKAGE = Path(ingrain.__file__).parent

# Not stations of a path: what people import in tests of their own, and the door for `python -m ingrain`.
OUTSIDE_THE_LAYERS = {"ingrain.testing", "ingrain.__main__"}


def test_the_import_contracts_hold():
    """Every contract of pyproject.toml is kept; the report is shown where one is not.

    In a process of its own, because the linter switches off every logger that it finds.
    """
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_station_has_its_place_in_the_layers():
    """A new folder or module of the package cannot escape the contract by not being named in it."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = next(c for c in config["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    named = {name.strip() for layer in contract["layers"] for name in layer.split("|")}
    modules = {path.stem for path in PACKAGE.glob("*.py")} | {
        path.parent.name for path in PACKAGE.glob("*/__init__.py")
    }
    present = {f"ingrain.{name}" for name in modules if name != "__init__"}
    assert present - OUTSIDE_THE_LAYERS == named


def test_no_module_imports_what_another_keeps_to_itself():
    """A name that begins with an underscore is used in its own module alone."""
    taken = [
        f"{path.relative_to(PACKAGE)}: {node.module}.{name.name}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ingrain")
        for name in node.names
        if name.name.startswith("_") and not name.name.startswith("__")
    ]
    assert taken == []
