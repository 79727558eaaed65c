"""Checks that a manifest names only its own graphs and files, so that a tampered one leads nowhere else."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from ingrain.errors import DamagedEntryError
from ingrain.repository.manifest import Manifest
from ingrain.repository.names import graph_name, model_key

_CODE = (".py", ".pyc", ".pyd", ".so")
"""Suffixes of files that Python would import in place of the backend's own, if they lay beside a graph."""


def check_names(manifest: Manifest) -> None:
    """Check the names of a manifest's graphs and files.

    Raises:
        DamagedEntryError: A graph has not the name that follows from the model's, a path leads out of its folder, or a
            file of a graph is no data.
    """
    key = model_key(manifest.name, manifest.library, manifest.pretrained)
    for graph in manifest.graphs:
        if graph.name != graph_name(key, graph.role):
            raise DamagedEntryError(f"The manifest names the graph {graph.name!r}, which is not this model's.")
        check_paths(file.path for file in graph.files)
        _check_data(file.path for file in graph.files)
    check_paths(file.path for file in manifest.files)
    check_paths(_opened(manifest))


def check_paths(paths: Iterable[str]) -> None:
    """Check that relative paths stay in their folder, links aside.

    Raises:
        DamagedEntryError: One does not.
    """
    for path in paths:
        parts = path.split("/")
        is_plain = path.isprintable() and "\\" not in path and not PurePosixPath(path).is_absolute()
        if not is_plain or any(part in ("", ".", "..") for part in parts):
            raise DamagedEntryError(f"The path {path!r} leads out of the model's folder, or is not a plain one.")


def _check_data(paths: Iterable[str]) -> None:
    """Check that a graph's files are data beside ``1/model.onnx``: Triton obeys its configuration, and runs its code.

    Raises:
        DamagedEntryError: One is not.
    """
    for path in paths:
        folder, _, name = path.partition("/")
        if folder != "1" or "/" in name or name.lower().endswith(_CODE):
            raise DamagedEntryError(f"The manifest names {path!r} as a file of a graph, which is no data of a graph.")


def check_links(folder: Path, paths: Iterable[str]) -> None:
    """Check that no link leads out of a folder of the repository.

    Args:
        folder: The folder, directly in a folder of the repository.
        paths: Paths in the folder, which may be missing.

    Raises:
        DamagedEntryError: The folder is a link, or a path leads out of it.
    """
    if folder.is_symlink():
        raise DamagedEntryError(f"The folder {folder.name} is a link.")
    root = folder.resolve()
    for path in paths:
        if not (folder / path).resolve().is_relative_to(root):
            raise DamagedEntryError(f"The path {path!r} is a link out of the model's folder.")


def check_entry_links(folder: Path, manifest: Manifest) -> None:
    """Check that no link leads out of the folder of a manifest.

    Raises:
        DamagedEntryError: One does.
    """
    check_links(folder, [*(file.path for file in manifest.files), *_opened(manifest)])


def _opened(manifest: Manifest) -> list[str]:
    """Return the files beside the manifest that are opened by the names in it."""
    opened = [text.tokenizer for text in (manifest.text, manifest.query_text) if text is not None]
    if manifest.calibration is not None:
        opened.append(manifest.calibration.file)
    return opened
