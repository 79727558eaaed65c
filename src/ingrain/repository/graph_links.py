"""Links to graphs in the repository's root, for a Triton whose root is the repository instead of its ``triton``."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def link_graph(graphs: Path, name: str) -> None:
    """Create ``<repository>/<name>``, a link to ``triton/<name>``, if the name is free and the file system has links.

    The link is relative, because Triton may have the repository at another path.

    Args:
        graphs: Folder of the graphs, ``<repository>/triton``.
        name: The graph's name.
    """
    with suppress(OSError):
        (graphs.parent / name).symlink_to(Path(graphs.name) / name)


def unlink_graph(graphs: Path, name: str) -> None:
    """Remove a link of ``link_graph``, if there is one. A link to a missing folder makes Triton's index fail."""
    link = graphs.parent / name
    if link.is_symlink():
        link.unlink(missing_ok=True)
