"""A repository with small real models for bulk jobs, and the vectors that they give."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from graphs import describe_graph, expected_embedding, write_image_graph, write_text_graph
from ingrain.repository.checksums import describe_file
from ingrain.repository.manifest import Manifest
from ingrain.repository.models_to_load import ModelRef
from ingrain.repository.store import Repository
from planes import IMAGE, ids_of, stage_model

TEXT_MODEL, IMAGE_MODEL = "org/words", "net"


def write_repository(root: Path, *, iterations: int = 0, seed: int = 0) -> Path:
    """Publish a model of texts, whose batches may be slowed down, and one that embeds images."""
    repository = Repository(root)
    repository.prepare()
    publish_models(repository, iterations=iterations, seed=seed)
    return root


def publish_models(repository: Repository, *, iterations: int = 0, seed: int = 0) -> None:
    """Publish both models."""
    texts = ModelRef(name=TEXT_MODEL, library="sentence_transformers")
    _publish(repository, texts, lambda path: write_text_graph(path, iterations=iterations, seed=seed))
    images = ModelRef(name=IMAGE_MODEL, library="timm", task="embed")
    _publish(repository, images, lambda path: write_image_graph(path, size=IMAGE.size[0]))


def expected_vectors(texts: list[str], *, normalize: bool = True) -> NDArray[np.float32]:
    """Return the vectors of texts of the words ``w0`` to ``w50``, float32 ``[N, D]``."""
    rows = []
    for text in texts:
        ids = np.array([ids_of(text)])
        rows.append(expected_embedding(ids, np.ones_like(ids))[0])
    vectors = np.stack(rows)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if normalize else vectors


def numbered(count: int) -> list[str]:
    """Return texts of one to seven words."""
    return [" ".join(f"w{(number * 7 + place) % 50}" for place in range(1 + number % 7)) for number in range(count)]


def _publish(repository: Repository, ref: ModelRef, write_graph) -> None:
    with repository.staging() as staged:
        stage_model(staged, ref)
        file = staged / "model" / "manifest.json"
        manifest = msgspec.json.decode(file.read_bytes(), type=Manifest)
        (graph,) = manifest.graphs
        path = staged / graph.name / "1" / "model.onnx"
        write_graph(path)
        real = describe_graph(graph.name, path, graph.role)
        real = msgspec.structs.replace(real, files=(describe_file(staged / graph.name, "1/model.onnx"),))
        width = real.outputs[0].shape[-1]
        file.write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, graphs=(real,), embedding_size=width)))
        repository.publish(staged)
