"""Fetches the repository that holds a model's Python code."""

from __future__ import annotations

from collections.abc import Callable

from ingrain.errors import InvalidRequestError, UnsupportedModelError
from ingrain.progress import Progress
from ingrain.sources.files import CODE_ONLY
from ingrain.sources.hub import Hub, Snapshot, fetch_model
from ingrain.sources.model_source import SourceSpec
from ingrain.sources.names import check_repo_id, check_revision


def fetch_code(
    repository: str, revision: str | None, spec: SourceSpec, progress: Callable[[Progress], None]
) -> Snapshot:
    """Fetch the Python files of a repository, without running any of them.

    Args:
        repository: The hub's id.
        revision: Branch, tag or commit; None for the main branch as it is now.
        spec: Gives the token and the offline mode for the hub.
        progress: Called with bytes done and in total.

    Raises:
        SourceNotFoundError: No such repository or revision, or it is not in the cache and offline mode is on.
        SourceForbiddenError, SourceUnavailableError: The repository cannot be downloaded.
        UnsupportedModelError: The id or revision is malformed, or the repository has no Python file.
    """
    try:
        check_repo_id(repository, repository)
        if revision is not None:
            check_revision(revision)
    except InvalidRequestError as error:
        raise UnsupportedModelError(
            f"The model takes its code from {repository!r} at {revision or 'main'!r}, which is no valid hub id and "
            "revision.",
            param="name",
        ) from error
    snapshot = fetch_model(
        repository,
        revision=revision,
        hub=Hub(token=spec.token, offline=spec.offline),
        progress=progress,
        rules=CODE_ONLY,
    )
    if not any(snapshot.folder.rglob("*.py")):
        raise UnsupportedModelError(
            f"The model takes its code from {repository!r}, which has no Python files.", param="name"
        )
    return snapshot
