"""The table of model families. A new family is a module that defines ``FAMILIES``, listed in ``MODULES``."""

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
    """Return the families by library, without importing the libraries.

    Args:
        extensions: Extension modules; their ``FAMILIES``, if any, are added or replace built-in ones.
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
        ExportUnavailableError: The library, or a package that the export needs, is not installed.
    """
    try:
        importlib.import_module(family.library)
        import onnxscript  # noqa: F401  # torch's exporter would notice its absence only in mid-export
    except ModuleNotFoundError as error:
        raise ExportUnavailableError(
            f"This installation lacks {error.name!r}, which the export needs: {install_hint('export')}."
        ) from error


@cache
def _families_of(module: str) -> tuple[Family, ...]:
    return tuple(getattr(importlib.import_module(module), "FAMILIES", ()))
