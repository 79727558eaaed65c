"""The one place that maps a source library to the module that exports it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import cast

from ingrain.errors import ExportUnavailableError, UnsupportedModelError
from ingrain.export.process.job import ExportJob
from ingrain.install import install_hint
from ingrain.progress import Progress
from ingrain.repository.manifest import Manifest
from ingrain.vocabulary import Library

Exporter = Callable[[ExportJob, Path, str | None, Callable[[Progress], None]], Manifest]

_MODULES: dict[Library, str] = {
    "sentence_transformers": "ingrain.export.families.sentence_transformers.export",
    "open_clip": "ingrain.export.families.open_clip.export",
    "timm": "ingrain.export.families.timm.export",
}


def exporter_of(library: Library) -> Exporter:
    """Return the function that exports models of a library: ``(job, folder, commit, report) -> Manifest``.

    Raises:
        UnsupportedModelError: No exporter for this library yet.
        ExportUnavailableError: The library, or what its export needs, is not installed.
    """
    module = _MODULES.get(library)
    if module is None:
        raise UnsupportedModelError(f"Models of the library {library!r} cannot be exported.", param="library")
    try:
        importlib.import_module(library)  # each is the name of its package
        return cast(Exporter, importlib.import_module(module).export)
    except ModuleNotFoundError as error:
        raise ExportUnavailableError(
            f"This installation lacks {error.name!r}, which the export needs: {install_hint('export')}."
        ) from error
