"""Everything public says what it is for."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import ingrain

PACKAGE = Path(ingrain.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def public(node: Documented, name: str) -> Iterator[tuple[str, Documented]]:
    """Yield a node and the public classes, functions and methods directly inside it, however deep the classes."""
    yield name, node
    if not isinstance(node, ast.Module | ast.ClassDef):
        return
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not child.name.startswith("_"):
            yield from public(child, f"{name}.{child.name}")


def inherits(node: Documented) -> bool:
    """Return whether a function repeats one that is documented elsewhere: an override or an overload."""
    decorators = getattr(node, "decorator_list", [])
    return any(ast.unparse(decorator).rpartition(".")[2] in {"override", "overload"} for decorator in decorators)


def test_everything_public_has_a_docstring():
    """Modules, classes, functions and methods whose name has no underscore begin with a docstring."""
    silent = [
        f"{file.relative_to(PACKAGE)}: {name}"
        for file in FILES
        for name, node in public(ast.parse(file.read_text(encoding="utf-8")), file.stem)
        if not ast.get_docstring(node) and not inherits(node)
    ]
    assert len(FILES) > 400
    assert silent == []
