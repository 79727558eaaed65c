"""Finds the files of a model: among custom sources, in local folders, or on the hub."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ingrain.errors import InvalidRequestError
from ingrain.progress import Progress
from ingrain.sources.custom_folder import find_custom
from ingrain.sources.files import choose_files, file_rules
from ingrain.sources.hub import Hub, Snapshot, fetch_model
from ingrain.sources.local import list_files, local_folder
from ingrain.sources.model_source import ResolvedSource, SourceSpec
from ingrain.sources.names import check_revision, hub_id
from ingrain.sources.open_clip import resolve_clip, resolve_custom_clip
from ingrain.sources.trust import trusted_commits
from ingrain.vocabulary import Library

Report = Callable[[Progress], None]
BeforeWeights = Callable[[ResolvedSource], None]


def resolve(
    spec: SourceSpec,
    progress: Report,
    before_weights: BeforeWeights = lambda _: None,
) -> ResolvedSource:
    """Find the files of a model: among custom sources, else below the directory of local models, else on the hub.

    Args:
        spec: The model. The environment gives ``HF_ENDPOINT``, ``HF_HOME`` and ``HF_HUB_CACHE``.
        progress: Called with ``phase="download"``; ``done`` never decreases, and ends at ``total``.
        before_weights: Called when the hub's side files are there, before weights are fetched; may raise to refuse the
            model.

    Raises:
        InvalidRequestError: The name or the revision is malformed, or the source has no revisions.
        DamagedEntryError: A file of a custom source is missing.
        SourceNotFoundError: There is no such model or revision, or offline mode is on and it is not in the cache.
        SourceForbiddenError: The hub requires a token, or refuses the given one.
        SourceUnavailableError: The hub cannot be reached, or the download failed.
        UnsupportedModelError: The weights have an unsupported format.
    """
    finder = _FINDERS.get(spec.library, _IN_ONE_PLACE)
    custom = find_custom(spec)
    if custom is None:
        return finder.find(spec, progress, before_weights)
    progress(Progress(phase="download", detail="custom source"))
    folder = finder.complete_custom(spec, custom)
    return ResolvedSource(folder=folder, commit=None, repository=spec.name, origin="custom")


def _find_in_one_place(spec: SourceSpec, progress: Report, before_weights: BeforeWeights) -> ResolvedSource:
    """Find a model whose files are all in one local folder or in one hub repository."""
    folder = local_folder(spec)
    if folder is not None:
        if spec.revision is not None:
            raise InvalidRequestError(
                f"{spec.name!r} is a local folder, which has no revisions; leave 'revision' out.", param="revision"
            )
        rules = file_rules(spec.library, pickled_weights=spec.pickled_weights)
        # Raises for weights in an unsupported format, as for the hub.
        choose_files(list_files(folder), rules, model=spec.name)
        progress(Progress(phase="download", detail="local folder"))
        return ResolvedSource(folder=folder, commit=None, repository=spec.name, origin="local")
    if spec.revision is not None:
        check_revision(spec.revision)
    repository = hub_id(spec.name, spec.library)
    with_code = bool(trusted_commits(repository, spec.trust_remote_code))

    def resolved(snapshot: Snapshot) -> ResolvedSource:
        return ResolvedSource(folder=snapshot.folder, commit=snapshot.commit, repository=repository, origin="hub")

    snapshot = fetch_model(
        repository,
        revision=spec.revision,
        hub=Hub(token=spec.token, offline=spec.offline),
        progress=progress,
        rules=file_rules(spec.library, pickled_weights=spec.pickled_weights, with_code=with_code),
        before_weights=lambda snapshot: before_weights(resolved(snapshot)),
    )
    return resolved(snapshot)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finder:
    """The functions that find the models of one library.

    Attributes:
        find: Finds a model in a local folder or on the hub.
        complete_custom: Adds the hub's files that a custom source names; returns the folder with all files.
    """

    find: Callable[[SourceSpec, Report, BeforeWeights], ResolvedSource]
    complete_custom: Callable[[SourceSpec, Path], Path] = lambda _, folder: folder


_IN_ONE_PLACE = _Finder(find=_find_in_one_place)
_FINDERS: dict[Library, _Finder] = {
    "open_clip": _Finder(
        find=lambda spec, progress, _: resolve_clip(spec, progress), complete_custom=resolve_custom_clip
    ),
}
