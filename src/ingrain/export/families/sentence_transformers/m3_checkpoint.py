"""Finds the files of the heads of FlagEmbedding's M3 models, which lie beside a sentence-transformers model."""

from __future__ import annotations

from pathlib import Path

SPARSE_FILE, MULTI_VECTOR_FILE = "sparse_linear.pt", "colbert_linear.pt"


def has_m3_heads(folder: Path) -> bool:
    """Return whether both files are in a model's folder."""
    return all((folder / name).is_file() for name in (SPARSE_FILE, MULTI_VECTOR_FILE))
