"""Downloads one file of a model with huggingface_hub, and checks it before it enters the cache.

``hf_hub_download`` (since version 2) deletes its partial file when a download fails, and compares no checksum. So this
module calls its helper ``http_get`` with a partial file that outlives the process. ``http_get`` uses plain HTTP; the
Xet protocol would also restart from zero after an interruption.
"""

from __future__ import annotations

import functools
import hashlib
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, HTTPError
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import WeakFileLock

from ingrain.errors import SourceUnavailableError
from ingrain.sources.cache import ModelCache
from ingrain.sources.download_progress import DownloadProgress
from ingrain.sources.hub_errors import RETRY_AFTER_S
from ingrain.sources.hub_retry import DOWNLOAD_RETRIES, retry_delay_s

# A broken connection loses at most one chunk; huggingface_hub's default chunk is 10 MiB.
_CHUNK_BYTES = 1 << 14
_LOCK_POLL_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """One file on the hub.

    Attributes:
        path: Path within the model.
        url: Address of its bytes at a fixed commit.
        size_bytes: Size of the file.
        digest: The hub's ETag: SHA-256 (64 hex digits) of a large file, git's SHA-1 (40 hex digits) of a small one.
    """

    path: str
    url: str
    size_bytes: int
    digest: str


def download(blob: Blob, cache: ModelCache, *, headers: dict[str, str], progress: DownloadProgress) -> None:
    """Download a file into the cache; continue an earlier partial download.

    If several processes want the same file, one downloads it and the others wait.

    Args:
        blob: The file.
        cache: The model's cache.
        headers: HTTP headers with the authorization; sent to the hub's own host only.
        progress: Gets the bytes on disk.

    Raises:
        HTTPError: Error of huggingface_hub, after the last retry.
        SourceUnavailableError: The hub sent bytes that do not match their checksum, twice.
        OSError: The disk is full or cannot be written.
    """
    destination, partial = cache.blob(blob.digest), cache.partial(blob.digest)
    destination.parent.mkdir(parents=True, exist_ok=True)
    with _locked(cache.lock(blob.digest), lambda: progress.at(_size(partial), blob.path)):
        # The second attempt starts from zero: the first may have continued a corrupt partial file.
        for _ in range(2):
            if destination.exists():
                partial.unlink(missing_ok=True)
                return
            with partial.open("ab+") as file:
                _fill(file, blob, headers, progress)
                if _digest(file, blob) == blob.digest:
                    os.fsync(file.fileno())
                    partial.replace(destination)
                    return
                _empty(file)
    raise SourceUnavailableError(
        f"The hub sent bytes for {blob.path!r} that do not match their checksum, twice. Try again later.",
        retry_after_s=RETRY_AFTER_S,
    )


def _fill(file: IO[bytes], blob: Blob, headers: dict[str, str], progress: DownloadProgress) -> None:
    """Append the missing bytes, with retries; an attempt that received bytes resets the count of failures.

    ``http_get`` itself resumes up to five times if a connection cannot be made, times out or is closed. This function
    retries the errors that ``http_get`` raises at once: connection resets and error statuses.
    """
    constants.DOWNLOAD_CHUNK_SIZE = _CHUNK_BYTES
    failures = 0
    while True:
        if (have := _size(file)) > blob.size_bytes:
            have = _empty(file)
        progress.at(have, blob.path)
        try:
            with progress.telling_retries(blob.path):
                http_get(
                    blob.url,
                    file,
                    resume_size=have,
                    # A compressed response has no byte ranges, and its size differs from the file's.
                    headers={**headers, "Accept-Encoding": "identity"},
                    expected_size=blob.size_bytes,
                    displayed_filename=blob.path,
                    tqdm_class=functools.partial(_Bar, blob, progress),
                )
            file.flush()
            return
        except HTTPError as error:
            file.flush()
            failures = 1 if _size(file) > have else failures + 1
            if isinstance(error, HfHubHTTPError) and error.response.status_code == 416:
                # The hub's file is shorter than the partial file, so the two differ.
                _empty(file)
            delay_s = retry_delay_s(error, failures, max_retries=DOWNLOAD_RETRIES)
            if delay_s is None:
                raise
            progress.retries(blob.path)
            time.sleep(delay_s)
        except OSError as error:
            if error.errno is not None:
                raise
            # An OSError without errno: the response had more or fewer bytes than announced.
            _empty(file)
            return


class _Bar:
    """Replaces the tqdm progress bar that ``http_get`` updates.

    Args:
        blob: The file.
        progress: Gets the bytes on disk.
        initial: Bytes on disk before this attempt.
    """

    def __init__(self, blob: Blob, progress: DownloadProgress, *, initial: int, **_: object) -> None:
        self._blob, self._progress, self._done_bytes = blob, progress, initial

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def update(self, count: int) -> None:
        """Add received bytes, which ``http_get`` writes next; a negative count means that it restarts the file."""
        self._done_bytes += count
        if self._done_bytes > self._blob.size_bytes:
            raise OSError("more bytes than the hub announced")
        self._progress.at(self._done_bytes, self._blob.path)


def _locked(path: Path, on_wait: Callable[[], None]) -> ExitStack:
    """Take the lock of a file, calling ``on_wait`` repeatedly while another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    held = ExitStack()
    while True:
        try:
            held.enter_context(WeakFileLock(path, timeout=_LOCK_POLL_S))
            return held
        except TimeoutError:
            on_wait()


def _digest(file: IO[bytes], blob: Blob) -> str:
    """Hash a whole file as the hub does; git's SHA-1 also covers a header with the object's type and size."""
    if len(blob.digest) == 64:
        state = hashlib.sha256
    else:
        state = functools.partial(hashlib.sha1, f"blob {_size(file)}\0".encode(), usedforsecurity=False)
    file.seek(0)
    return hashlib.file_digest(file, state).hexdigest()  # type: ignore[arg-type]  # IO[bytes] does not say that the file is readable


def _empty(file: IO[bytes]) -> int:
    file.seek(0)
    return file.truncate(0)


def _size(file: IO[bytes] | Path) -> int:
    try:
        return (file.stat() if isinstance(file, Path) else os.fstat(file.fileno())).st_size
    except FileNotFoundError:
        return 0
