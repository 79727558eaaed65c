"""Finds the folder of a local model, and refuses folders outside the operator's directory of local models."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from ingrain.errors import SourceNotFoundError
from ingrain.libraries import LIBRARIES
from ingrain.sources.model_source import SourceSpec, quoted


def local_folder(spec: SourceSpec) -> Path | None:
    """Return the folder below the directory of local models that a spec names, or None.

    Raises:
        SourceNotFoundError: The name has the prefix ``local-dir:`` and there is no such folder, or a symbolic link
            leads out of the directory.
    """
    name = spec.name.removeprefix(LIBRARIES[spec.library].local_prefix or "")
    folder = find_local(name, Path(spec.local_models_dir)) if spec.local_models_dir is not None else None
    if folder is None and name != spec.name:
        raise SourceNotFoundError(
            f"{quoted(name)} is no folder below the directory of local models (INGRAIN_LOCAL_MODELS_DIR).", param="name"
        )
    return folder


def find_local(name: str, models_dir: Path) -> Path | None:
    """Return the folder of a model below the directory of local models.

    Args:
        name: What the user wrote: one folder name, or several joined by ``/``.
        models_dir: The directory of local models; a missing directory counts as empty.

    Returns:
        The folder with all symbolic links resolved, or None if there is no such folder or if ``name`` cannot be one
        (absolute, with ``.`` or ``..`` parts, a backslash or a control character).

    Raises:
        SourceNotFoundError: The name leads out of the directory through a symbolic link.
    """
    if not is_plain_relative(name):
        return None
    root = models_dir.resolve()
    try:
        folder = (root / name).resolve()
        found = folder.is_dir()
    except (OSError, RuntimeError):
        # A part is longer than the file system allows, or symbolic links form a loop.
        return None
    if not folder.is_relative_to(root) or folder == root:
        raise SourceNotFoundError(
            f"{name!r} leads out of the directory of local models (INGRAIN_LOCAL_MODELS_DIR); copy the model's folder "
            "into that directory.",
            param="name",
        )
    return folder if found else None


def is_plain_relative(path: str) -> bool:
    """Return True if a path is relative and has no ``..``, on every platform and in every library.

    >>> is_plain_relative("org/model"), is_plain_relative("../model"), is_plain_relative("a/./b")
    (True, False, False)
    """
    if "\\" in path or any(ord(char) < 32 or ord(char) == 127 for char in path):
        return False
    parts = path.split("/")
    return all(part not in {"", ".", ".."} for part in parts) and not PurePosixPath(path).is_absolute()


def list_files(folder: Path) -> list[str]:
    """Return the files of a folder as relative paths with ``/``, as the hub lists them."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def link_files(folder: Path, paths: Iterable[str], target: Path) -> None:
    """Link files of a folder into another folder, under the same relative paths."""
    for path in paths:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).symlink_to((folder / path).resolve())
