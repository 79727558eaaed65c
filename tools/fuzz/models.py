"""Writes a repository of small models, without a conversion: the graphs are real, and made in a moment."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
from onnx import TensorProto, helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import graphs
from ingrain.repository.checksums import describe_file
from ingrain.repository.image_preprocess import ImagePreprocess, Resize, ToRgb
from ingrain.repository.manifest import Graph, Manifest, Similarity, TextPreprocess
from ingrain.repository.names import graph_name, model_key
from ingrain.repository.store import Repository
from ingrain.vocabulary import Library, Role

TEXT, CLIP, CLASSIFIER = "fuzz-text", "fuzz-clip", "fuzz-classifier"
LIBRARIES: dict[str, Library] = {TEXT: "sentence_transformers", CLIP: "open_clip", CLASSIFIER: "timm"}

_ROLES: dict[str, tuple[Role, ...]] = {
    TEXT: ("text_encoder",),
    CLIP: ("text_encoder", "image_encoder"),
    CLASSIFIER: ("classifier",),
}
_MAX_TOKENS, _SIDE = 64, 16
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def write_repository(root: Path) -> None:
    """Write a repository with the models of ``LIBRARIES``, ready to be loaded."""
    repository = Repository(root)
    repository.prepare()
    for name, roles in _ROLES.items():
        with repository.staging() as folder:
            (folder / "model").mkdir()
            described = tuple(_write_graph(folder, name, role) for role in roles)
            manifest = _manifest(folder / "model", name, described)
            (folder / "model" / "manifest.json").write_bytes(msgspec.json.encode(manifest))
            repository.publish(folder)


def _write_graph(folder: Path, name: str, role: Role) -> Graph:
    graph_id = graph_name(model_key(name, LIBRARIES[name]), role)
    path = folder / graph_id / "1" / "model.onnx"
    if role == "text_encoder":
        graphs.write_text_graph(path)
    else:
        _write_image_graph(path, 3 if role == "classifier" else graphs.WIDTH)
    graph = graphs.describe_graph(graph_id, path, role)
    return msgspec.structs.replace(graph, files=(describe_file(folder / graph_id, "1/model.onnx"),))


def _write_image_graph(path: Path, width: int) -> None:
    """Write a graph from pixels, ``uint8 [B, H, W, 3]``, to linear functions of their mean, ``float32 [B, width]``."""
    nodes = [
        helper.make_node("Cast", ["pixel_values"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["embedding"]),
    ]
    weights = {"weights": np.linspace(-1, 1, 3 * width, dtype=np.float32).reshape(3, width)}
    inputs = [graphs._value("pixel_values", TensorProto.UINT8, "batch", _SIDE, _SIDE, 3)]
    graphs._save(path, nodes, weights, inputs, graphs._value("embedding", TensorProto.FLOAT, "batch", width))


def _manifest(folder: Path, name: str, described: tuple[Graph, ...]) -> Manifest:
    roles = _ROLES[name]
    if "text_encoder" in roles:
        _write_tokenizer(folder / "tokenizer.json")
    steps = (Resize((_SIDE, _SIDE), "squash", "bicubic"), ToRgb())
    pixels = ImagePreprocess(size=(_SIDE, _SIDE), steps=steps, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return Manifest(
        name=name,
        library=LIBRARIES[name],
        architecture="Tiny",
        created_at="2026-01-01T00:00:00Z",
        versions={},
        embedding_size=3 if name == CLASSIFIER else graphs.WIDTH,
        graphs=described,
        text=TextPreprocess(max_tokens=_MAX_TOKENS) if "text_encoder" in roles else None,
        image=None if name == TEXT else pixels,
        labels=("red", "green", "blue") if name == CLASSIFIER else (),
        similarity=Similarity(scale=10.0) if name == CLIP else None,
        files=tuple(describe_file(folder, path.name) for path in folder.iterdir()),
    )


def _write_tokenizer(path: Path) -> None:
    words = [*_SPECIAL, *(f"w{number}" for number in range(graphs.VOCABULARY - len(_SPECIAL)))]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ends = [(token, words.index(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, ends)
    tokenizer.enable_truncation(_MAX_TOKENS)
    tokenizer.save(str(path))
