"""Finds graphs of other programs in the repository, which Ingrain leaves alone."""

from __future__ import annotations

from pathlib import Path

from ingrain.repository.names import key_of_graph

_SIGNS = ("config.pbtxt", "library_name.txt")


def foreign_graphs(root: Path) -> list[str]:
    """Return the names of Triton models in a repository that are not Ingrain's, sorted.

    They lie directly in the repository, as Triton wants them and as the first generation of Ingrain wrote them, or in
    its folder ``triton``.

    Args:
        root: The repository.
    """
    folders = [folder for parent in (root, root / "triton") if parent.is_dir() for folder in parent.iterdir()]
    return sorted(folder.name for folder in folders if key_of_graph(folder.name) is None and _has_sign(folder))


def _has_sign(folder: Path) -> bool:
    try:
        return any((folder / sign).is_file() for sign in _SIGNS)
    except OSError:  # a folder that this server may not enter
        return False
