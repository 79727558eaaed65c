"""Receives an export job, and hands on the folder that holds the model it names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ingrain.errors import InvalidRequestError
from ingrain.progress import Progress
from ingrain.sources.custom_folder import find_custom
from ingrain.sources.files import choose_files, file_rules
from ingrain.sources.hub import Hub, Snapshot, fetch_model
from ingrain.sources.local import find_local, list_files
from ingrain.sources.names import LOCAL_PREFIX, check_revision, hub_id, missing_folder
from ingrain.sources.open_clip import resolve_clip, resolve_custom_clip
from ingrain.sources.spec import SourceSpec
from ingrain.sources.trust import trusted_commits


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedSource:
    """A model's files, all on this machine.

    Attributes:
        folder: What the source library loads.
        commit: The hub's commit (40 hex digits); None for a local folder or a custom source.
        repository: The hub's id, or the name of a local folder: what code in it is called where code is allowed.
        origin: Where the files came from.
    """

    folder: Path
    commit: str | None
    repository: str
    origin: Literal["custom", "local", "hub"]


def resolve(
    job: SourceSpec,
    progress: Callable[[Progress], None],
    before_weights: Callable[[ResolvedSource], None] = lambda _: None,
) -> ResolvedSource:
    """Find the files of the model that a job names.

    They are looked for among the custom sources, below the directory of local models, and on the hub.

    Args:
        job: The export job. ``HF_ENDPOINT``, ``HF_HOME`` and ``HF_HUB_CACHE`` are taken from the environment.
        progress: Called with ``phase="download"``; ``done`` never falls, and ends at ``total``.
        before_weights: Called with what has been fetched from the hub before weights are; may refuse the model.

    Raises:
        InvalidRequestError: The name or the revision is malformed, or a revision was given for what has none.
        DamagedEntryError: A custom source lacks a file.
        SourceNotFoundError: There is no such model or revision, or offline mode is on and the cache lacks it.
        SourceForbiddenError: The hub wants a token, or another one.
        SourceUnavailableError: The hub cannot be reached, or the download broke off.
        UnsupportedModelError: The weights are there in no form that is read.
    """
    custom = find_custom(job)
    if custom is not None:
        progress(Progress(phase="download", detail="custom source"))
        folder = resolve_custom_clip(job, custom) if job.library == "open_clip" else custom
        return ResolvedSource(folder=folder, commit=None, repository=job.name, origin="custom")
    if job.library == "open_clip":
        found = resolve_clip(job, progress)
        origin: Literal["local", "hub"] = "hub" if found.commit else "local"
        return ResolvedSource(folder=found.folder, commit=found.commit, repository=job.name, origin=origin)
    name = job.name.removeprefix(LOCAL_PREFIX) if job.library == "timm" else job.name
    if job.local_models_dir is not None:
        local = find_local(name, Path(job.local_models_dir))
        if local is not None:
            return _local(local, job, progress)
    if name != job.name:
        raise missing_folder(name)
    if job.revision is not None:
        check_revision(job.revision)
    repository = hub_id(job.name, job.library)

    def described(snapshot: Snapshot) -> ResolvedSource:
        return ResolvedSource(folder=snapshot.folder, commit=snapshot.commit, repository=repository, origin="hub")

    snapshot = fetch_model(
        repository,
        library=job.library,
        revision=job.revision,
        trust_remote_code=bool(trusted_commits(repository, job.trust_remote_code)),
        hub=Hub(token=job.token, offline=job.offline),
        progress=progress,
        rules=file_rules(job.library, pickled_weights=job.pickled_weights),
        before_weights=lambda snapshot: before_weights(described(snapshot)),
    )
    return described(snapshot)


def _local(folder: Path, job: SourceSpec, progress: Callable[[Progress], None]) -> ResolvedSource:
    """Hold a local folder to the same rules as the hub: weights in a form that is read."""
    if job.revision is not None:
        raise InvalidRequestError(
            f"{job.name!r} is a local folder, which has no revisions; leave 'revision' out.", param="revision"
        )
    choose_files(
        list_files(folder),
        job.library,
        trust_remote_code=False,
        model=job.name,
        rules=file_rules(job.library, pickled_weights=job.pickled_weights),
    )
    progress(Progress(phase="download", detail="local folder"))
    return ResolvedSource(folder=folder, commit=None, repository=job.name, origin="local")
