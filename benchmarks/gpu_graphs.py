"""Writes variants of a published model for ``gpu.py``: in half precision, and with ONNX Runtime's fused operators."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from ingrain.export.precision.float16 import write_float16
from ingrain.export.precision.fused import write_fused
from ingrain.repository.store import Entry, Repository

VARIANTS = ("fp32", "fp32 fused", "fp16", "fp16 fused")


def write_variant(repository: Path, entry: Entry, variant: str, folder: Path) -> Path:
    """Write a repository with one variant of a published fp32 model.

    The variant is not proved against its source as a conversion would do; a benchmark only needs its speed.

    Args:
        repository: The repository with the published model.
        entry: The model.
        variant: One of ``VARIANTS``.
        folder: Folder for the new repositories.

    Returns:
        The new repository.
    """
    target = folder / variant.replace(" ", "-")
    shutil.rmtree(target, ignore_errors=True)
    graph = entry.manifest.graphs[0]
    for path in (Path("models") / entry.folder.name, Path("triton") / graph.name):
        shutil.copytree(repository / path, target / path)
    file = Repository(target).locate_graph(graph)
    for write, word in ((write_fused, "fused"), (write_float16, "fp16")):
        if word in variant:
            _rewrite(file, write)
    manifest_file = target / "models" / entry.folder.name / "manifest.json"
    manifest = json.loads(manifest_file.read_text())
    manifest["precision"] = variant.split()[0]
    content = file.read_bytes()
    for found in manifest["graphs"][0]["files"]:
        found["size_bytes"], found["sha256"] = len(content), hashlib.sha256(content).hexdigest()
    manifest_file.write_text(json.dumps(manifest))
    return target


def _rewrite(file: Path, write: Callable[[Path, Path], None]) -> None:
    source = file.rename(file.with_suffix(".source"))
    write(source, file)
    source.unlink()
