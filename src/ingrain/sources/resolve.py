"""Receives an export job, and hands on the folder that holds the model it names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ingrain.errors import InvalidRequestError, SourceNotFoundError
from ingrain.export.job import ExportJob, Progress
from ingrain.sources.local import find_local


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedSource:
    """A model's files, all on this machine.

    Attributes:
        folder: What the source library loads.
        commit: The hub's commit (40 hex digits); None for a local folder.
        origin: Where the files came from.
    """

    folder: Path
    commit: str | None
    origin: Literal["local", "hub"]


def resolve(job: ExportJob, progress: Callable[[Progress], None]) -> ResolvedSource:
    """Find the files of the model that a job names.

    Args:
        job: The export job.
        progress: Called with the progress of a download.

    Raises:
        InvalidRequestError: A revision was given for a local folder.
        SourceNotFoundError: There is no such model.
    """
    if job.local_models_dir is not None:
        folder = find_local(job.name, Path(job.local_models_dir))
        if folder is not None:
            if job.revision is not None:
                raise InvalidRequestError(
                    f"{job.name!r} is a local folder, which has no revisions; leave 'revision' out.", param="revision"
                )
            progress(Progress(phase="download", detail="local folder"))
            return ResolvedSource(folder=folder, commit=None, origin="local")
    raise SourceNotFoundError(f"{job.name!r} is no folder below the directory of local models.", param="name")
