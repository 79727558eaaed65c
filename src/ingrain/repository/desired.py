"""Which models should be loaded: a file in the repository, so that it outlives the server and Triton."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from ingrain.errors import DamagedEntryError
from ingrain.vocabulary import Library, Precision, Task


class ModelRef(msgspec.Struct, frozen=True, kw_only=True):
    """A model as a user names it; without a precision or task it is taken as it is stored, or made by the default."""

    name: str
    library: Library = "sentence_transformers"
    pretrained: str | None = None
    revision: str | None = None
    precision: Precision | None = None
    task: Task | None = None


def read_desired(root: Path) -> tuple[ModelRef, ...]:
    """Return the models that should be loaded, in the order they were asked for.

    Raises:
        DamagedEntryError: The file cannot be read.
    """
    try:
        content = (root / "desired.json").read_bytes()
    except FileNotFoundError:
        return ()
    try:
        return msgspec.json.decode(content, type=tuple[ModelRef, ...])
    except msgspec.MsgspecError as error:
        raise DamagedEntryError(
            "desired.json in the model repository cannot be read; remove it to start anew."
        ) from error


def write_desired(root: Path, models: tuple[ModelRef, ...]) -> None:
    """Replace the list as a whole; the caller holds the repository's lock."""
    temporary = root / "desired.json.new"
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(models)))
    os.replace(temporary, root / "desired.json")  # noqa: PTH105 - the atomic form, said plainly
