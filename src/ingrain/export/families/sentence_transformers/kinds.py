"""Finds out from the side files which kind of model a folder holds, and which module here loads that kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingrain.errors import UnsupportedModelError
from ingrain.export.families.sentence_transformers.checkpoint import modules_of
from ingrain.export.families.sentence_transformers.m3_checkpoint import has_m3_heads
from ingrain.export.families.sentence_transformers.modalities import has_pair_template
from ingrain.export.model_files import read_json
from ingrain.vocabulary import Task

SOURCE_MODULES: dict[Task, str] = {
    "embed": "ingrain.export.families.sentence_transformers.source",
    "rerank": "ingrain.export.families.sentence_transformers.scorer_source",
    "classify": "ingrain.export.families.sentence_transformers.scorer_source",
    "embed_sparse": "ingrain.export.families.sentence_transformers.sparse_source",
    "embed_multi_vector": "ingrain.export.families.sentence_transformers.multi_vector",
    "embed_tokens": "ingrain.export.families.sentence_transformers.tokens",
}
"""The module that loads each task's models."""

_SPARSE_MODULES = {"SpladePooling", "SparseAutoEncoder", "SparseStaticEmbedding", "MLMTransformer"}
_PYLATE_SETTINGS = {"query_prefix", "document_prefix", "do_query_expansion", "attend_to_expansion_tokens"}
_COLBERT_FILE = "artifact.metadata"
_COLBERT_CLASSES = {"HF_ColBERT", "ColBERT"}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of model.

    Attributes:
        what: The kind in words, as the end of "The model is ...".
        tasks: The tasks that the same files can serve; the first one is chosen if the user names none.
        served_too: Tasks that a model for the first task serves too, with the same graph.
        source: The module that loads models of this kind for the first task; None for that of the task.
    """

    what: str
    tasks: tuple[Task, ...]
    served_too: tuple[Task, ...] = ()
    source: str | None = None


_DENSE = Kind("an embedding model with one vector per text", ("embed", "embed_tokens"))
_LANGUAGE_MODEL = Kind("a language model", ("embed", "rerank", "embed_tokens"))
_PAIR_LANGUAGE_MODEL = Kind("a language model whose chat template takes a query and a document", ("rerank",))
_MASKED_LANGUAGE_MODEL = Kind("a masked language model", ("embed", "embed_sparse", "embed_tokens"))
_RERANKER = Kind("a reranker, which scores pairs of texts", ("rerank", "classify"))
_PAIR_CLASSIFIER = Kind("a cross-encoder with several scores per pair", ("classify",))
_PLAIN_RERANKER = Kind("a text classifier with one score, which can rerank", ("rerank", "classify", "embed"))
_TEXT_CLASSIFIER = Kind("a text classifier", ("classify", "embed"))
_SPARSE = Kind("a sparse encoder", ("embed_sparse",))
_MULTI_VECTOR = Kind(
    "a multi-vector encoder, which gives one vector per token",
    ("embed_multi_vector",),
    served_too=("rerank", "embed_tokens"),
)
_M3 = Kind(
    "an embedding model with dense, sparse and several vectors per text",
    ("embed",),
    served_too=("embed_sparse", "embed_multi_vector", "rerank", "embed_tokens"),
    source="ingrain.export.families.sentence_transformers.m3_source",
)


def kind_of(folder: Path, *, reads_pickles: bool = True) -> Kind:
    """Return the kind of model in a folder, by its JSON files and the names of the others.

    Args:
        folder: The model's folder.
        reads_pickles: False if the operator forbids pickles, so that those of further outputs are left out.

    Raises:
        UnsupportedModelError: A file cannot be read, or sentence-transformers names a type of model that is unknown.
    """
    settings = read_json(folder / "config_sentence_transformers.json")
    named = settings.get("model_type")
    modules = [dotted for dotted, _ in modules_of(folder)]
    classes = {dotted.rpartition(".")[2] for dotted in modules}
    config = read_json(folder / "config.json")
    architecture = next(iter(config.get("architectures") or ()), "")
    if named == "CrossEncoder" or "LogitScore" in classes:
        return _RERANKER if "LogitScore" in classes or _count_scores(folder) == 1 else _PAIR_CLASSIFIER
    if named == "SparseEncoder" or classes & _SPARSE_MODULES:
        return _SPARSE
    if (
        named in ("MultiVectorEncoder", "ColBERT")
        or settings.keys() & _PYLATE_SETTINGS
        or any(dotted.startswith("pylate.") for dotted in modules)
        or (folder / _COLBERT_FILE).is_file()
        or architecture in _COLBERT_CLASSES
    ):
        return _MULTI_VECTOR
    if named not in (None, "SentenceTransformer"):
        raise UnsupportedModelError(
            f"The model is of the type {named!r}, which the installed sentence-transformers does not have.",
            param="name",
        )
    if reads_pickles and has_m3_heads(folder):
        return _M3
    if modules:
        return _DENSE
    if architecture.endswith("ForSequenceClassification"):
        return _PLAIN_RERANKER if _count_labels(config) == 1 else _TEXT_CLASSIFIER
    if architecture.endswith("ForCausalLM"):
        return _PAIR_LANGUAGE_MODEL if has_pair_template(folder) else _LANGUAGE_MODEL
    if architecture.endswith("ForMaskedLM"):
        return _MASKED_LANGUAGE_MODEL
    return _DENSE


def source_module(folder: Path, wanted: Task | None, *, reads_pickles: bool = True) -> str:
    """Return the module whose ``open_source(job, folder)`` checks a folder and returns its source.

    Args:
        folder: The model's folder.
        wanted: The user's choice of the task; None to take the one that the files say.
        reads_pickles: As in ``kind_of``.

    Raises:
        UnsupportedModelError: The model cannot serve the wanted task.
    """
    kind = kind_of(folder, reads_pickles=reads_pickles)
    first = kind.tasks[0]
    task = first if wanted is None or wanted in kind.served_too else wanted
    if task not in kind.tasks:
        choice = " or ".join(map(repr, kind.tasks))
        raise UnsupportedModelError(
            f"The model is {kind.what}; its task cannot be {task!r}. Leave `task` out, or send {choice}.", param="task"
        )
    return kind.source if kind.source is not None and task == first else SOURCE_MODULES[task]


def _count_scores(folder: Path) -> int:
    """Return how many scores a cross-encoder gives: those of its last dense layer, or of its network's head."""
    parts = modules_of(folder)
    for dotted, part in reversed(parts):
        options = read_json(part / "config.json")
        if dotted.endswith(".Dense") and options.get("module_output_name") == "scores":
            return int(options.get("out_features", 1))
    return _count_labels(read_json((parts[0][1] if parts else folder) / "config.json"))


def _count_labels(config: dict[str, Any]) -> int:
    """Return the number of logits of a sequence classification, as transformers reads it: two if nothing says it."""
    labels = config.get("id2label")
    if isinstance(labels, dict) and labels:
        return len(labels)
    count = config.get("num_labels", config.get("_num_labels"))
    return count if isinstance(count, int) else 2
