"""Reads the JSON files of a model's folder, and finds its weights."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from ingrain.errors import UnsupportedModelError

_PICKLES = (".bin", ".pt", ".pth", ".npz", ".tar")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; return an empty one if the file does not exist.

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
    """Return the first of the named files that exists in a folder.

    Raises:
        UnsupportedModelError: None exists; the message says whether there are pickles.
    """
    names = list(names)
    for name in names:
        if (folder / name).is_file():
            return folder / name
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES)
    if pickles:
        raise unsupported(
            f"The model's weights exist only as {pickles[0]!r}. Pickles are read only if INGRAIN_PICKLED_WEIGHTS "
            "allows it and the file has a name that the source library looks for. Convert the weights to safetensors."
        )
    raise unsupported(f"The model's folder has no weights ({names[0]}).")


def unsupported(message: str) -> UnsupportedModelError:
    """Return the error for a model that cannot be served."""
    return UnsupportedModelError(message, param="name")
