"""Copies a stored model under other names into another repository, which is much quicker than to convert it again."""

import shutil
from pathlib import Path

import msgspec

from ingrain.repository.manifest import Manifest
from ingrain.repository.manifest_file import MANIFEST_FILE, read_manifest
from ingrain.repository.names import graph_name, model_key
from ingrain.repository.store import Repository


def copy_models(source: Path, root: Path, name: str, count: int) -> list[str]:
    """Publish copies of a stored model of sentence-transformers in the repository at ``root``; return their names."""
    stored, target = Repository(source), Repository(root)
    target.prepare()
    key = model_key(name, "sentence_transformers")
    manifest = read_manifest(stored.models / key)
    names = [f"{name}-{number:02}" for number in range(count)]
    for new in names:
        with target.staging() as folder:
            _stage(stored, folder, key, manifest, new)
            target.publish(folder)
    return names


def _stage(stored: Repository, folder: Path, key: str, manifest: Manifest, name: str) -> None:
    shutil.copytree(stored.models / key, folder / "model")
    graphs = []
    for graph in manifest.graphs:
        renamed = graph_name(model_key(name, manifest.library), graph.role)
        graphs.append(msgspec.structs.replace(graph, name=renamed))
        for file in graph.files:
            path = folder / renamed / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(stored.triton / graph.name / file.path, path)
    renamed_manifest = msgspec.structs.replace(manifest, name=name, graphs=tuple(graphs))
    (folder / "model" / MANIFEST_FILE).write_bytes(msgspec.json.encode(renamed_manifest))
