"""Where the files of a model lie in the folder from which it is published."""

from __future__ import annotations

from pathlib import Path

from ingrain.repository.manifest import Manifest, StoredFile


def files_of_model(folder: Path, manifest: Manifest) -> dict[Path, StoredFile]:
    """Return the files of a model besides the manifest, by their place in a staging folder."""
    found = {folder / "model" / file.path: file for file in manifest.files}
    return found | {folder / graph.name / file.path: file for graph in manifest.graphs for file in graph.files}
