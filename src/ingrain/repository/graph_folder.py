"""Writes the files beside ``model.onnx`` in a graph's folder of Triton's model repository."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from ingrain.repository.execution_policy import Backend, ExecutionPolicy
from ingrain.repository.manifest import Graph, Manifest
from ingrain.repository.triton_config import graph_config, to_pbtxt
from ingrain.repository.tuning import Layout

VERSION = "1"
_PYTHON_MODEL = ("model.py", "runs.py", "sessions.py", "lone.py", "cuda.py")


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
    config = to_pbtxt(graph_config(graph, backend, policy, max_tokens=max_tokens))
    version = folder / VERSION
    version.mkdir(parents=True, exist_ok=True)
    changed = False
    for name in _PYTHON_MODEL:
        if backend == "python":
            changed |= _replace(version / name, _source(name))
        elif (version / name).exists():
            (version / name).unlink()
            changed = True
    return _replace(folder / "config.pbtxt", config.encode()) or changed


def prepare_graph_folder(
    folder_of: Callable[[str], Path],
    backend: Backend | None,
    policy: ExecutionPolicy,
    manifest: Manifest,
    graph: Graph,
    layout: Layout | None,
) -> bool:
    """Write the folder of a model's graph with ``write_graph_folder``.

    Args:
        folder_of: Returns the folder by the graph's name.
        backend: Triton's backend for the graph; None if the engine is not Triton, and nothing is written.
        policy: How graphs are executed.
        manifest: The model's manifest.
        graph: One of the model's graphs.
        layout: Copies and threads that a tuning chose; None for those of the policy.
    """
    if backend is None:
        return False
    if layout is not None:
        policy = replace(policy, instances=layout.copies, threads=layout.threads)
    max_tokens = manifest.text.max_tokens if manifest.text is not None else None
    return write_graph_folder(folder_of(graph.name), graph, backend, policy, max_tokens=max_tokens)


def _source(name: str) -> bytes:
    """Return a source file of the Python backend's model, which runs inside Triton."""
    return (files("ingrain") / "python_backend" / name).read_bytes()


def _replace(path: Path, content: bytes) -> bool:
    try:
        if path.read_bytes() == content:
            return False
    except FileNotFoundError:
        pass
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
