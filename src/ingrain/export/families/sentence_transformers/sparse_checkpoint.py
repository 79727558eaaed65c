"""Checks the files of a sparse encoder before anything is loaded; refuses what cannot be converted."""

from __future__ import annotations

from pathlib import Path

from ingrain.export.families.sentence_transformers.checkpoint import (
    ROUTER_CONFIG,
    Accepted,
    check_module,
    check_transformer,
    modules_of,
    own_kind,
)
from ingrain.export.families.sentence_transformers.modalities import refuse_chat_template
from ingrain.export.model_files import find_safetensors, read_json, unsupported

_ACCEPTED = Accepted(tasks=("fill-mask", "feature-extraction"))
_TRANSFORMERS = {"Transformer", "MLMTransformer"}
_DENSE = {"Pooling", "Dense", "Normalize", "LayerNorm", "Dropout"}
# The supported options of each module of this kind of model.
_OPTIONS: dict[str, set[str]] = {
    "SpladePooling": {"pooling_strategy", "activation_function", "embedding_dimension", "word_embedding_dimension"},
    "SparseStaticEmbedding": {"frozen"},
    "SparseAutoEncoder": {"input_dim", "hidden_dim", "k", "k_aux", "normalize", "dead_threshold"},
}
_WEIGHTED = {"SparseStaticEmbedding", "SparseAutoEncoder"}


def inspect_sparse(folder: Path, *, trust_remote_code: bool) -> None:
    """Check a folder by its JSON files alone.

    Args:
        folder: The folder of a ``SparseEncoder``, or of a plain masked language model.
        trust_remote_code: True: accept networks that come with the model.

    Raises:
        UnsupportedModelError: A module, option or architecture cannot be converted, or weights are missing.
    """
    modules = modules_of(folder)
    if not modules:
        refuse_chat_template(folder, read_json(folder / "tokenizer_config.json"))
        check_transformer(folder, trust_remote_code, _ACCEPTED)
    if modules and all(own_kind(dotted) == "Router" for dotted, _ in modules):
        raise unsupported(f"The model's {ROUTER_CONFIG} names no modules.")
    for dotted, part in modules:
        kind = own_kind(dotted)
        if kind in _TRANSFORMERS:
            check_transformer(part, trust_remote_code, _ACCEPTED)
        elif kind in _DENSE:
            check_module(kind, part, trust_remote_code)
        elif kind in _OPTIONS:
            _check_options(kind, part)
        elif kind != "Router":
            raise unsupported(f"The module {dotted.rpartition('.')[2]!r} of a sparse encoder is not supported.")


def _check_options(kind: str, folder: Path) -> None:
    options = read_json(folder / "config.json")
    if unknown := set(options) - _OPTIONS[kind]:
        raise unsupported(f"The module {kind!r} has the option {min(unknown)!r}, which is not supported.")
    if kind in _WEIGHTED:
        find_safetensors(folder, ("model.safetensors",))
