"""The table of model families: a new one is a module with ``FAMILIES``, and a line here."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from functools import cache

from ingrain.errors import ExportUnavailableError, UnsupportedModelError
from ingrain.export.families.protocol import Family
from ingrain.install_hint import install_hint

MODULES = (
    "ingrain.export.families.sentence_transformers.family",
    "ingrain.export.families.open_clip.family",
    "ingrain.export.families.timm.family",
)


def families(extensions: Iterable[str] = ()) -> dict[str, Family]:
    """Return the families by library; no library is imported.

    Args:
        extensions: Modules from outside whose ``FAMILIES``, where they have any, join the table or replace its lines.
    """
    return {family.library: family for name in (*MODULES, *extensions) for family in _families_of(name)}


def family_of(library: str, extensions: Iterable[str] = ()) -> Family:
    """Return the family of a library's models."""
    family = families(extensions).get(library)
    if family is None:
        raise UnsupportedModelError(f"Models of the library {library!r} cannot be exported.", param="library")
    return family


def import_library(family: Family) -> None:
    """Import a family's source library.

    Raises:
        ExportUnavailableError: It, or what its export needs, is not installed.
    """
    try:
        importlib.import_module(family.library)
        import onnxscript  # noqa: F401  # torch's exporter needs it, and says so only when it has begun
    except ModuleNotFoundError as error:
        raise ExportUnavailableError(
            f"This installation lacks {error.name!r}, which the export needs: {install_hint('export')}."
        ) from error


@cache
def _families_of(module: str) -> tuple[Family, ...]:
    return tuple(getattr(importlib.import_module(module), "FAMILIES", ()))
