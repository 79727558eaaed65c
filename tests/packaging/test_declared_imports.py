"""What the code imports, the package asks for, so that no extra works only where something else is installed too."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import ingrain

ROOT = Path(__file__).parents[2]
PACKAGE = Path(ingrain.__file__).parent
PROVIDED_BY_TRITON = {"triton_python_backend_utils"}
SERVING_PART_OF_EXPORT = {"__init__.py", "child.py", "exporter.py", "job.py", "runner.py"}
DISTRIBUTIONS = packages_distributions()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def declared(*extras: str) -> set[str]:
    """Return the distributions that the bare package and these extras ask for by name."""
    texts = [*PROJECT["dependencies"], *(text for extra in extras for text in PROJECT["optional-dependencies"][extra])]
    return {canonicalize_name(Requirement(text).name) for text in texts}


def imported(file: Path) -> Iterator[str]:
    """Yield the top-level name of every import of a file, inside functions too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def exports(file: Path) -> bool:
    """Return whether a file belongs to what only `ingrain[export]` can run."""
    station, *rest = file.relative_to(PACKAGE).parts
    if station == "export":
        return rest[-1] not in SERVING_PART_OF_EXPORT
    return station in {"sources", "testing"}


SERVING = ("serve", "parquet", "bench", "heic", "ray", "spark", "object-storage", "otel", "signed-bundles")


@pytest.mark.parametrize(("extras", "part"), [(SERVING, "serving"), (("serve", "export", "heic"), "exporting")])
def test_each_import_is_declared(extras, part):
    """Every library that a part of the code imports is asked for by the extra that this part comes with."""
    allowed = declared(*extras)
    missing = {}
    for file in PACKAGE.rglob("*.py"):
        if exports(file) is not (part == "exporting"):
            continue
        for name in set(imported(file)) - sys.stdlib_module_names - PROVIDED_BY_TRITON - {"ingrain"}:
            owners = {canonicalize_name(owner) for owner in DISTRIBUTIONS.get(name, [name])}
            if not owners & allowed:
                missing.setdefault(name, []).append(str(file.relative_to(PACKAGE)))
    assert missing == {}
