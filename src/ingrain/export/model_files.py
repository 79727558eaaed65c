"""Reads a model's folder: its JSON files, and which weights there are."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from ingrain.errors import UnsupportedModelError

_PICKLES = (".bin", ".pt", ".pth", ".npz", ".tar")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; an absent file is an empty one.

    Raises:
        UnsupportedModelError: The file does not hold a JSON object.
    """
    if not path.is_file():
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise unsupported(f"The model's {path.name} is not a JSON object.") from error


def find_safetensors(folder: Path, names: Iterable[str]) -> Path:
    """Return the first file of these names that a folder has.

    Raises:
        UnsupportedModelError: There is none: there are only pickles, or nothing.
    """
    names = list(names)
    for name in names:
        if (folder / name).is_file():
            return folder / name
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES)
    if pickles:
        raise unsupported(
            f"The model's weights are there only as {pickles[0]!r}. Pickles are read where INGRAIN_PICKLED_WEIGHTS "
            "allows it, and only by the names that the source library looks for: convert to safetensors."
        )
    raise unsupported(f"The model's folder has no weights ({names[0]}).")


def unsupported(message: str) -> UnsupportedModelError:
    """Return the error of a model that cannot be served as it is."""
    return UnsupportedModelError(message, param="name")
