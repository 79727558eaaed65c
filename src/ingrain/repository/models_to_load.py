"""The list of models that should be loaded: a file in the repository, so that it outlives the server and Triton."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from ingrain.errors import DamagedEntryError
from ingrain.machine_faults import raise_if_machines
from ingrain.repository.durable import UNREADABLE, write_json
from ingrain.repository.manifest import Manifest
from ingrain.repository.names import model_key
from ingrain.vocabulary import Library, Precision, Task

DESIRED_FILE = "desired.json"


class ModelRef(msgspec.Struct, frozen=True, kw_only=True):
    """A model as a user names it; without a precision or task, any stored one meets the reference.

    Attributes:
        pin: Whether the model is never unloaded but by command; None as INGRAIN_PINNED_MODELS says.
        keep_alive_s: Seconds after which it is unloaded if it was not used, negative for never; None as
            INGRAIN_KEEP_ALIVE says.
    """

    name: str
    library: Library = "sentence_transformers"
    pretrained: str | None = None
    revision: str | None = None
    precision: Precision | None = None
    task: Task | None = None
    pin: bool | None = None
    keep_alive_s: float | None = None

    @property
    def key(self) -> str:
        """The model's key in the repository."""
        return model_key(self.name, self.library, self.pretrained)

    def after(self, earlier: ModelRef) -> ModelRef:
        """Return this reference, with what an earlier one says about the time in memory where this one is silent."""
        pin = self.pin if self.pin is not None else earlier.pin
        keep_alive_s = self.keep_alive_s if self.keep_alive_s is not None else earlier.keep_alive_s
        return msgspec.structs.replace(self, pin=pin, keep_alive_s=keep_alive_s)

    def is_met_by(self, manifest: Manifest) -> bool:
        """Return True if a stored model has the reference's precision and serves its task, where given."""
        return self.precision in (None, manifest.precision) and self.task in (None, *manifest.tasks)


class _Named(msgspec.Struct):
    name: str


def read_desired(root: Path) -> tuple[ModelRef, ...]:
    """Return the models that should be loaded, in the order in which they were added; none if there is no list.

    Raises:
        DamagedEntryError: The content is not a list of models.
        MachineError: The file cannot be read now.
    """
    return tuple(ref for ref in _read(root) if isinstance(ref, ModelRef))


def write_desired(root: Path, models: Sequence[ModelRef]) -> None:
    """Replace the list atomically; the caller holds the repository's lock."""
    write_json(root / DESIRED_FILE, models)


def change_desired(root: Path, key: str, ref: ModelRef | None) -> None:
    """Add a model, replace its reference, or remove it if ``ref`` is None; the caller holds the repository's lock.

    Entries of a newer Ingrain stay as they are.

    Raises:
        DamagedEntryError: The content is not a list of models.
        OSError, MachineError: The file cannot be read or written.
    """
    before = _read(root)
    after = [ref if isinstance(one, ModelRef) and one.key == key else one for one in before]
    if ref is not None and ref not in after:
        after.append(ref)
    after = [one for one in after if one is not None]
    if after != before:
        write_json(root / DESIRED_FILE, after)


def _read(root: Path) -> list[ModelRef | msgspec.Raw | None]:
    """Return the entries of the list; as they are written where only a newer Ingrain can know what they mean."""
    try:
        lines = msgspec.json.decode((root / DESIRED_FILE).read_bytes(), type=list[msgspec.Raw])
        return [_entry(line) for line in lines]
    except FileNotFoundError:
        return []
    except (OSError, *UNREADABLE) as error:
        raise_if_machines(error)
        raise DamagedEntryError("The list of models that should be loaded (desired.json) is damaged.") from error


def _entry(line: msgspec.Raw) -> ModelRef | msgspec.Raw:
    try:
        return msgspec.json.decode(line, type=ModelRef)
    except msgspec.ValidationError:
        msgspec.json.decode(line, type=_Named)
        return line.copy()
