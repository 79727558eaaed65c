"""Finds models in the repository by the fields of a request."""

from __future__ import annotations

from typing import get_args

from ingrain.errors import DamagedEntryError, MachineError, ModelNotFoundError
from ingrain.registry.slots import ambiguous, is_meant
from ingrain.registry.status import ModelStatus
from ingrain.repository.custom import CustomSource
from ingrain.repository.manifest import Manifest
from ingrain.repository.names import model_key
from ingrain.repository.store import BrokenEntry, Entry, Repository
from ingrain.vocabulary import Library

_MOST_NAMES = 10_000


class StoredModels:
    """Finds published models and custom sources in the repository. Blocks on disk."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        # Names of models whose manifests were read, by key: a key is made of the name and never gets another one.
        self._names: dict[str, str] = {}

    def manifest(self, name: str, library: Library | None, pretrained: str | None) -> Manifest:
        """Return the manifest of the only model that matches the fields of a request.

        Raises:
            ModelNotFoundError: The model is not in the repository.
            ModelConflictError: Several models match.
        """
        entries = [entry for entry in self._entries(name, library, pretrained) if isinstance(entry, Entry)]
        if not entries:
            raise _not_found(name)
        if len(entries) > 1:
            raise ambiguous(name)
        return entries[0].manifest

    def key(self, name: str, library: Library | None, pretrained: str | None, *, besides: set[str]) -> str:
        """Return the key of the only model that matches the fields of a request, damaged or custom ones included.

        Args:
            name: The model.
            library: Source library, if several models share the name.
            pretrained: OpenCLIP's weight tag.
            besides: Keys of further matching models, in the repository or not.

        Raises:
            ModelNotFoundError: No model matches.
            ModelConflictError: Several models match.
        """
        entries = {entry.key for entry in self._entries(name, library, pretrained)}
        keys = besides | entries | self._custom(name, library, pretrained)
        if not keys:
            raise _not_found(name)
        if len(keys) > 1:
            raise ambiguous(name)
        return next(iter(keys))

    def statuses(self) -> dict[str, ModelStatus]:
        """Return the status of all models and custom sources by key, as if none were loaded."""
        statuses = {entry.key: _stored_status(entry) for entry in self._repository.entries()}
        for key, source in self._repository.custom.entries():
            statuses.setdefault(key, _custom_status(key, source))
        return statuses

    def _entries(self, name: str, library: Library | None, pretrained: str | None) -> list[Entry | BrokenEntry]:
        keys = _keys(name, library, pretrained)

        def may_match(key: str) -> bool:
            return key == name or self._names.get(key, name) == name

        def matches(entry: Entry | BrokenEntry) -> bool:
            if isinstance(entry, BrokenEntry):
                return entry.key in keys or (entry.name == name and pretrained is None)
            return is_meant(entry.manifest, name, library, pretrained)

        found = self._repository.entries(may_match)
        if len(self._names) > _MOST_NAMES:
            self._names.clear()  # most are of models that were deleted
        self._names |= {entry.key: entry.manifest.name for entry in found if isinstance(entry, Entry)}
        return [entry for entry in found if matches(entry)]

    def _custom(self, name: str, library: Library | None, pretrained: str | None) -> set[str]:
        keys = _keys(name, library, pretrained)
        return {
            key
            for key, source in self._repository.custom.entries()
            if key in keys or (isinstance(source, CustomSource) and is_meant(source, name, library, pretrained))
        }


def _keys(name: str, library: Library | None, pretrained: str | None) -> set[str]:
    return {model_key(name, one, pretrained) for one in ([library] if library else get_args(Library))}


def _not_found(name: str) -> ModelNotFoundError:
    return ModelNotFoundError(
        f"Model {name!r} is not in the repository. GET /repository_models lists what is.", param="name"
    )


def _stored_status(entry: Entry | BrokenEntry) -> ModelStatus:
    if isinstance(entry, BrokenEntry):
        return ModelStatus(name=entry.name, library=None, state="UNAVAILABLE", reason=entry.error.message)
    m = entry.manifest
    return ModelStatus(
        name=m.name,
        library=m.library,
        state="UNAVAILABLE",
        pretrained=m.pretrained,
        precision=m.precision,
        task=m.task,
        tasks=m.tasks,
    )


def _custom_status(key: str, source: CustomSource | DamagedEntryError | MachineError) -> ModelStatus:
    if not isinstance(source, CustomSource):
        return ModelStatus(name=key, library=None, state="UNAVAILABLE", reason=source.message)
    return ModelStatus(name=source.name, library=source.library, state="UNAVAILABLE", pretrained=source.pretrained)
