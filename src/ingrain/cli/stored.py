"""Find a model in the repository, for commands that read it without a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingrain.errors import ModelConflictError, ModelNotFoundError

if TYPE_CHECKING:
    from ingrain.repository.store import Entry, Repository
    from ingrain.settings import Settings
    from ingrain.vocabulary import Library


def open_repository(settings: Settings) -> Repository:
    """Return the repository; of object storage, with a local copy that is up to date."""
    from ingrain.app.placement import repository_of
    from ingrain.repository.object_storage.store import is_url

    repository = repository_of(settings)
    if is_url(settings.repository):
        repository.prepare()
    return repository


def find_stored(repository: Repository, name: str, library: Library | None, pretrained: str | None) -> Entry:
    """Return a stored model, with its files on this machine.

    Raises:
        ModelNotFoundError: The repository does not have it.
        ModelConflictError: It has several of this name.
        RepositoryError: It is damaged.
    """
    from ingrain.repository.store import Entry

    found = []
    for entry in repository.entries():
        if isinstance(entry, Entry):
            m = entry.manifest
            if m.name == name and library in (None, m.library) and pretrained in (None, m.pretrained):
                found.append(entry)
        elif entry.name == name:
            raise entry.error
    if len(found) > 1:
        raise ModelConflictError(
            f"Several models are called {name!r}; --library or --pretrained decides.", param="name"
        )
    stored = repository.obtain(found[0].key) if found else None
    if stored is None:
        raise ModelNotFoundError(f"Model {name!r} is not in the repository {repository.root}.", param="name")
    return stored
