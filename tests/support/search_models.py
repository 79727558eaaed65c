"""One model of each kind that a search needs: trained ones where a package ships one or one is trained on the spot."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from processes import MINILM, place_minilm
from tiny_multi_vector import build_stanford
from tiny_scorers import NLI, build_classifier
from tiny_sparse import PACKAGED_SPLADE, save_packaged_splade
from tiny_timm import build_timm
from torch_process import torch_pool
from trained_reranker import RERANKER, build_trained_reranker

COLBERT, CLASSIFIER, PICTURES = "small-colbert", "small-nli", "small-vit"
BUILDERS: dict[str, Callable[[Path], object]] = {
    RERANKER: build_trained_reranker,
    PACKAGED_SPLADE: save_packaged_splade,
    COLBERT: partial(build_stanford, settings={"query_maxlen": 16, "doc_maxlen": 60, "mask_punctuation": True}),
    CLASSIFIER: partial(build_classifier, family="RoBERTa", labels=NLI, seed=4),
    PICTURES: partial(build_timm, "test_vit", num_classes=4),
}
"""What builds each model but all-MiniLM-L6-v2."""
KINDS = {
    "dense": MINILM,
    "picture": PICTURES,
    "sparse": PACKAGED_SPLADE,
    "multi-vector": COLBERT,
    "reranker": RERANKER,
    "classifier": CLASSIFIER,
}
"""The models by kind."""


def place_search_models(folder: Path) -> Path:
    """Make a directory of local models that holds one model of each kind."""
    folder.mkdir(parents=True, exist_ok=True)
    place_minilm(folder)
    with torch_pool() as pool:
        for name, build in BUILDERS.items():
            pool.submit(build, folder=folder / name).result()
    return folder


def library_of(name: str) -> str:
    """Return the source library of a model."""
    return "timm" if name == PICTURES else "sentence_transformers"


def flag_of_models() -> str:
    """Return the flag that has a server load all of them."""
    names = (f"timm:{name}" if library_of(name) == "timm" else name for name in KINDS.values())
    return f"--models={','.join(names)}"
