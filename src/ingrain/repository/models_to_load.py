"""The list of models that should be loaded: a file in the repository, so that it outlives the server and Triton."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ingrain.errors import DamagedEntryError
from ingrain.repository.durable import write_json
from ingrain.repository.manifest import Manifest
from ingrain.repository.names import model_key
from ingrain.vocabulary import Library, Precision, Task

DESIRED_FILE = "desired.json"


class ModelRef(msgspec.Struct, frozen=True, kw_only=True):
    """A model as a user names it; without a precision or task, any stored one meets the reference."""

    name: str
    library: Library = "sentence_transformers"
    pretrained: str | None = None
    revision: str | None = None
    precision: Precision | None = None
    task: Task | None = None

    @property
    def key(self) -> str:
        """The model's key in the repository."""
        return model_key(self.name, self.library, self.pretrained)

    def is_met_by(self, manifest: Manifest) -> bool:
        """Return True if a stored model has the reference's precision and task, where given."""
        return self.precision in (None, manifest.precision) and self.task in (None, manifest.task)


def read_desired(root: Path) -> tuple[ModelRef, ...]:
    """Return the models that should be loaded, in the order in which they were added.

    Raises:
        DamagedEntryError: The file cannot be read.
    """
    try:
        content = (root / DESIRED_FILE).read_bytes()
    except FileNotFoundError:
        return ()
    try:
        return msgspec.json.decode(content, type=tuple[ModelRef, ...])
    except msgspec.MsgspecError as error:
        raise DamagedEntryError(
            "desired.json in the model repository cannot be read; remove it to start with an empty list."
        ) from error


def write_desired(root: Path, models: tuple[ModelRef, ...]) -> None:
    """Replace the list atomically; the caller holds the repository's lock."""
    write_json(root / DESIRED_FILE, models)
