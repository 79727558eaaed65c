"""Writes a repository of small models, without a conversion: the graphs are real, and made in a moment."""

from __future__ import annotations

from pathlib import Path

import msgspec
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import graphs
from ingrain.repository.checksums import describe_file
from ingrain.repository.image_preprocess import ImagePreprocess, Resize, ToRgb
from ingrain.repository.manifest import Graph, Manifest, TextPreprocess
from ingrain.repository.names import graph_name, model_key
from ingrain.repository.store import Repository
from ingrain.vocabulary import Library, Role

MODELS = ("chaos-a", "chaos-b")
"""Models that the clients use during the whole run."""
SPARE = "chaos-spare"
"""A model that faults load and unload; no client uses it."""
PICTURES = "chaos-pictures"
MAX_TOKENS = 128

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
WORDS = tuple(f"w{number}" for number in range(graphs.VOCABULARY - len(_SPECIAL)))
# Long enough that a fault meets batches inside the engine: about 3 ms a batch.
_ITERATIONS = 10
_SIDE = 16


def write_repository(root: Path, spares: int = 1) -> None:
    """Write a repository with ``MODELS``, ``PICTURES`` and some spare models, all ready to be loaded.

    Args:
        root: The repository.
        spares: Number of spare models: ``SPARE``, ``SPARE-1``, ``SPARE-2``, ….
    """
    repository = Repository(root)
    repository.prepare()
    for seed, name in enumerate((*MODELS, *spare_names(spares))):
        _publish(repository, name, "sentence_transformers", "text_encoder", seed)
    _publish(repository, PICTURES, "timm", "image_encoder", 0)


def spare_names(count: int) -> list[str]:
    """Return the names of the spare models."""
    return [SPARE, *(f"{SPARE}-{number}" for number in range(1, count))][:count]


def _publish(repository: Repository, name: str, library: Library, role: Role, seed: int) -> None:
    graph_id = graph_name(model_key(name, library), role)
    with repository.staging() as folder:
        path = folder / graph_id / "1" / "model.onnx"
        is_text = role == "text_encoder"
        if is_text:
            graphs.write_text_graph(path, seed=seed, iterations=_ITERATIONS)
        else:
            graphs.write_image_graph(path, size=_SIDE)
        graph = graphs.describe_graph(graph_id, path, role)
        graph = msgspec.structs.replace(graph, files=(describe_file(folder / graph_id, "1/model.onnx"),))
        (folder / "model").mkdir()
        if is_text:
            _write_tokenizer(folder / "model" / "tokenizer.json")
        manifest = _manifest(name, library, graph, folder / "model")
        (folder / "model" / "manifest.json").write_bytes(msgspec.json.encode(manifest))
        repository.publish(folder)


def _manifest(name: str, library: Library, graph: Graph, folder: Path) -> Manifest:
    is_text = graph.role == "text_encoder"
    steps = (Resize((_SIDE, _SIDE), "squash", "bicubic"), ToRgb())
    pixels = ImagePreprocess(size=(_SIDE, _SIDE), steps=steps, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return Manifest(
        name=name,
        library=library,
        architecture="Tiny",
        created_at="2026-01-01T00:00:00Z",
        versions={},
        embedding_size=graphs.WIDTH if is_text else 3,
        graphs=(graph,),
        text=TextPreprocess(max_tokens=MAX_TOKENS) if is_text else None,
        image=None if is_text else pixels,
        files=tuple(describe_file(folder, path.name) for path in folder.iterdir()),
    )


def _write_tokenizer(path: Path) -> None:
    words = {word: number for number, word in enumerate((*_SPECIAL, *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ends = [(token, words[token]) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, ends)
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.save(str(path))
