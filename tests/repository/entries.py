"""Small but complete exports to publish in tests."""

from pathlib import Path

import msgspec

from ingrain.repository.checksums import describe_file
from ingrain.repository.manifest import Graph, Manifest, Tensor, TextPreprocess
from ingrain.repository.names import graph_name, model_key


def stage(folder: Path, name: str = "org/model", weights: bytes = b"weights") -> Manifest:
    """Write an export as the worker leaves it."""
    key = model_key(name, "sentence_transformers")
    graph = graph_name(key, "text_encoder")
    (folder / graph / "1").mkdir(parents=True)
    (folder / graph / "1" / "model.onnx").write_bytes(weights)
    (folder / "model").mkdir()
    (folder / "model" / "tokenizer.json").write_text("{}")
    manifest = Manifest(
        name=name,
        library="sentence_transformers",
        architecture="BertModel",
        created_at="2026-11-22T00:00:00Z",
        versions={},
        embedding_size=4,
        graphs=(
            Graph(
                name=graph,
                role="text_encoder",
                inputs=(Tensor(name="input_ids", dtype="INT64", shape=(-1, -1)),),
                outputs=(Tensor(name="embedding", dtype="FP32", shape=(-1, 4)),),
                files=(describe_file(folder / graph, "1/model.onnx"),),
            ),
        ),
        text=TextPreprocess(max_tokens=16),
        files=(describe_file(folder / "model", "tokenizer.json"),),
    )
    (folder / "model" / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    return manifest
