"""Small models of BGE-M3's kind with random weights, built on the spot: a network with two heads beside it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from tiny_families import FAMILIES
from tiny_models import WIDTH, build_network, build_pipeline, prepare_libraries

TOKEN_WIDTH = 20
FAMILY = "XLM-RoBERTa"


def build_m3(folder: Path, *, token_width: int = WIDTH, half: bool = False, has_modules: bool = True) -> Path:
    """Build a folder like BAAI/bge-m3's.

    Args:
        folder: Where it goes.
        token_width: Width of the vectors of tokens.
        half: True to store the heads in half precision, as BAAI/bge-m3 does.
        has_modules: False for a folder as FlagEmbedding saves it after training, which sentence-transformers would take
            for a network with mean pooling.
    """
    if has_modules:
        modules = [("Pooling", {"pooling_mode": "cls"}), ("Normalize", {})]
        build_pipeline(folder, family=FAMILIES[FAMILY], modules=modules)
    else:
        build_network(folder, FAMILIES[FAMILY])
    prepare_libraries()
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(7)
        for name, out in (("sparse_linear", 1), ("colbert_linear", token_width)):
            layer = torch.nn.Linear(WIDTH, out)
            torch.nn.init.normal_(layer.weight, std=0.5)
            torch.nn.init.constant_(layer.bias, 0.5)
            layer = layer.half() if half else layer
            torch.save(layer.state_dict(), folder / f"{name}.pt")
    return folder


M3: dict[str, Callable[[Path], Path]] = {
    "BGE-M3 (XLM-RoBERTa, heads in float16)": partial(build_m3, half=True),
    "BGE-M3, trained further with FlagEmbedding": partial(build_m3, has_modules=False, token_width=TOKEN_WIDTH),
}
"""Builders of models that can be converted, by the rows' names in the table of compatibility."""
