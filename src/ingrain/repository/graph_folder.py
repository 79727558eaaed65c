"""Writes the files beside ``model.onnx`` in a graph's folder of Triton's model repository."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from ingrain.repository.execution_policy import Backend, ExecutionPolicy
from ingrain.repository.manifest import Graph, Manifest
from ingrain.repository.triton_config import CHECKSUM, from_pbtxt, graph_config, to_pbtxt
from ingrain.repository.tuning import Layout

VERSION = "1"
CONFIGURATION = "config.pbtxt"
_PYTHON_MODEL = ("model.py", "runs.py", "sessions.py", "lone.py", "cuda.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphFolders:
    """Writes the folders of graphs for one engine.

    Attributes:
        folder_of: Returns the folder by the graph's name.
        backend: Triton's backend for the graphs; None if the engine is not Triton, and nothing is written.
        policy: How graphs are executed.
    """

    folder_of: Callable[[str], Path]
    backend: Backend | None
    policy: ExecutionPolicy

    def write(self, manifest: Manifest, graph: Graph, layout: Layout | None) -> bool:
        """Write the folder of a model's graph; return True if a file changed.

        Args:
            manifest: The model's manifest.
            graph: One of the model's graphs.
            layout: Copies and threads that a tuning chose; None for those of the policy.
        """
        if self.backend is None:
            return False
        policy, max_tokens = self._policy(layout), _max_tokens(manifest, graph)
        return write_graph_folder(self.folder_of(graph.name), graph, self.backend, policy, max_tokens=max_tokens)

    def differ(self, manifest: Manifest, graph: Graph, layout: Layout | None) -> bool:
        """Return whether ``write`` would change how the graph is executed."""
        if self.backend is None:
            return False
        wanted = _contents(graph, self.backend, self._policy(layout), _max_tokens(manifest, graph))
        folder = self.folder_of(graph.name)
        return any(not _is_same(_read(folder / path), content) for path, content in wanted.items())

    def are_written(self, graph: Graph) -> bool:
        """Return whether the folder has a configuration of this graph for this backend, whichever server wrote it."""
        written = _read(self.folder_of(graph.name) / CONFIGURATION)
        config = from_pbtxt(written) if written is not None else None
        if config is None or config.backend != self.backend:
            return False
        return [tensor.name for tensor in config.input] == [tensor.name for tensor in graph.inputs]

    def _policy(self, layout: Layout | None) -> ExecutionPolicy:
        if layout is None:
            return self.policy
        return replace(self.policy, instances=layout.copies, threads=layout.threads)


def write_graph_folder(
    folder: Path, graph: Graph, backend: Backend, policy: ExecutionPolicy, *, max_tokens: int | None = None
) -> bool:
    """Write ``config.pbtxt`` and, for the Python backend, ``1/model.py`` and its imports; skip unchanged files.

    Each file is replaced atomically, so that neither Triton nor another Ingrain reads a partial file.

    Args:
        folder: ``<repository>/triton/<graph name>``; created if missing.
        graph: The graph whose ``1/model.onnx`` is or will be in the folder.
        backend: Triton's backend for the graph.
        policy: How the graph is executed.
        max_tokens: Longest sequence of a text graph.

    Returns:
        True if a file changed; a loaded graph must then be unloaded and loaded again.
    """
    contents = _contents(graph, backend, policy, max_tokens)
    (folder / VERSION).mkdir(parents=True, exist_ok=True)
    changed = False
    for path, content in contents.items():
        changed |= _replace(folder / path, content)
    return changed


def _contents(
    graph: Graph, backend: Backend, policy: ExecutionPolicy, max_tokens: int | None
) -> dict[str, bytes | None]:
    """Return the files of a graph's folder besides ``model.onnx``, the configuration last; None for no such file."""
    config = to_pbtxt(graph_config(graph, backend, policy, max_tokens=max_tokens))
    code = {f"{VERSION}/{name}": _source(name) if backend == "python" else None for name in _PYTHON_MODEL}
    return {**code, CONFIGURATION: config.encode()}


def _max_tokens(manifest: Manifest, graph: Graph) -> int | None:
    text = manifest.text_of(graph)
    return text.max_tokens if text is not None else None


def _source(name: str) -> bytes:
    """Return a source file of the Python backend's model, which runs inside Triton."""
    return (files("ingrain") / "python_backend" / name).read_bytes()


def _read(path: Path) -> bytes | None:
    """Return a file's content; None if it is missing."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _is_same(written: bytes | None, wanted: bytes | None) -> bool:
    """Return whether a file is as wanted, or is a configuration that lacks only the graph's checksums.

    Earlier versions wrote no checksums; the next ``write`` adds them.
    """
    if written is None or wanted is None or written == wanted:
        return written == wanted
    config, complete = from_pbtxt(written), from_pbtxt(wanted)
    if config is None or complete is None or CHECKSUM in config.parameters:
        return False
    complete.parameters.pop(CHECKSUM, None)
    return bool(config == complete)


def _replace(path: Path, content: bytes | None) -> bool:
    """Give a file this content, or remove it if that is None; return True if it was another one."""
    if _read(path) == content:
        return False
    if content is None:
        path.unlink()
        return True
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            # mkstemp creates files that only the owner can read; Triton may run as another user.
            os.fchmod(file.fileno(), 0o644)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:  # remove the partial file on cancellation too
        Path(temporary).unlink(missing_ok=True)
        raise
    return True
