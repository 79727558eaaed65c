"""The stations import each other in one direction only."""

from __future__ import annotations

import tomllib
from pathlib import Path

from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

import ingrain

ROOT = Path(__file__).parents[2]
PACKAGE = Path(ingrain.__file__).parent

# Not stations of a path: what people import in tests of their own, and the door for `python -m ingrain`.
OUTSIDE_THE_LAYERS = {"ingrain.testing", "ingrain.__main__"}


def test_the_import_contracts_hold(capsys):
    """Every contract of pyproject.toml is kept; the report is shown where one is not."""
    status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out


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
