"""Reads and writes the hub's cache on disk, in the layout of huggingface_hub, which other libraries share.

::

    .locks/models--ORG--NAME/ETAG.lock              held while a file is downloaded
    models--ORG--NAME/blobs/ETAG                    a file's bytes
                     /snapshots/COMMIT/PATH    ->   ../../blobs/ETAG
                     /refs/REVISION                 the commit that a branch or tag stood for
"""

from __future__ import annotations

import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

COMMIT = re.compile(r"[0-9a-f]{40}")

PARTIAL_SUFFIX = ".ingrain-partial"
_PARTIAL_LIFE_S = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class ModelCache:
    """The part of the cache that belongs to one model."""

    folder: Path

    @classmethod
    def of(cls, cache_dir: Path, repo_id: str) -> ModelCache:
        """Return the cache of a model below the cache's root."""
        return cls(cache_dir / f"models--{repo_id.replace('/', '--')}")

    def blob(self, etag: str) -> Path:
        """Return the path of a file's bytes."""
        return self.folder / "blobs" / etag

    def partial(self, etag: str) -> Path:
        """Return the path of an unfinished download, which the next one continues."""
        return self.folder / "blobs" / f"{etag}{PARTIAL_SUFFIX}"

    def lock(self, etag: str) -> Path:
        """Return the path of the lock that huggingface_hub, too, holds while it downloads a file."""
        return self.folder.parent / ".locks" / self.folder.name / f"{etag}.lock"

    def snapshot(self, commit: str) -> Path:
        """Return the folder of the model's files at a commit."""
        return self.folder / "snapshots" / commit

    def has(self, commit: str, path: str, etag: str) -> bool:
        """Return True if a file of a commit is complete."""
        return self.blob(etag).is_file() or (self.snapshot(commit) / path).is_file()

    def link(self, commit: str, path: str, etag: str) -> None:
        """Link a blob into the snapshot of a commit, under the file's path."""
        pointer = self.snapshot(commit) / path
        if pointer.is_file():
            return
        pointer.parent.mkdir(parents=True, exist_ok=True)
        fresh = _beside(pointer)
        try:
            fresh.symlink_to(os.path.relpath(self.blob(etag), pointer.parent))
        except OSError:
            # The file system has no symbolic links; the cache layout allows a copy instead.
            shutil.copyfile(self.blob(etag), fresh)
        fresh.replace(pointer)

    def read_ref(self, revision: str) -> str | None:
        """Return the commit that a revision pointed to when it was last fetched, or None."""
        if COMMIT.fullmatch(revision):
            return revision
        try:
            commit = (self.folder / "refs" / revision).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return None
        return commit if COMMIT.fullmatch(commit) else None

    def write_ref(self, revision: str, commit: str) -> None:
        """Store the commit of a branch or tag; write only changes, so that a read-only cache works."""
        if self.read_ref(revision) == commit:
            return
        ref = self.folder / "refs" / revision
        ref.parent.mkdir(parents=True, exist_ok=True)
        fresh = _beside(ref)
        fresh.write_text(commit, encoding="ascii")
        fresh.replace(ref)

    def drop_old_partials(self) -> None:
        """Delete partial downloads older than a week, whose files have most likely changed on the hub."""
        limit = time.time() - _PARTIAL_LIFE_S
        for partial in (self.folder / "blobs").glob(f"*{PARTIAL_SUFFIX}"):
            try:
                if partial.stat().st_mtime < limit:
                    partial.unlink()
            except OSError:
                continue  # another process deleted the file first


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}{PARTIAL_SUFFIX}")
