"""Downloads one file of a model with huggingface_hub, and checks it before it enters the cache.

``hf_hub_download`` deletes what it has of a file when a download fails (since version 2), and compares no checksum, so
``http_get``, a part of it, is called with a partial file that outlives the process. That is plain HTTP: Xet would
also begin again after an interruption.
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
from ingrain.sources.hub_errors import RETRY_AFTER_S, retry_delay_s

# Received bytes reach the disk in pieces of this size; huggingface_hub's 10 MiB are lost when a connection breaks.
_CHUNK_BYTES = 1 << 14
_RETRIES = 5
_LOCK_POLL_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """One file on the hub.

    Attributes:
        path: Path within the model.
        url: Address of its bytes at a fixed commit.
        size_bytes: How many there are.
        digest: SHA-256 (64 hex digits) of a large file, git's SHA-1 (40) of a small one; the hub's ETag of either.
    """

    path: str
    url: str
    size_bytes: int
    digest: str


def download(blob: Blob, cache: ModelCache, *, headers: dict[str, str], progress: DownloadProgress) -> None:
    """Download a file into the cache, continuing an earlier download that was broken off.

    Of several processes that want the same file one downloads it, and the others wait.

    Args:
        blob: The file.
        cache: The model's cache.
        headers: HTTP headers with the caller's authorization; sent to the hub's own host alone.
        progress: Told the bytes that are there.

    Raises:
        HTTPError: Of huggingface_hub, after the last try.
        SourceUnavailableError: The hub sent bytes that do not match their checksum, twice.
        OSError: The disk is full or cannot be written.
    """
    destination, partial = cache.blob(blob.digest), cache.partial(blob.digest)
    destination.parent.mkdir(parents=True, exist_ok=True)
    with _locked(cache.lock(blob.digest), lambda: progress.at(_size(partial), blob.path)):
        # The second time from nothing: the first may have continued bytes that were wrong.
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
    """Append what is missing, in as many tries as it takes; a try that brought bytes does not count as a failure.

    ``http_get`` itself continues up to five times where a connection cannot be made, falls silent or is closed. Tried
    again here is what it raises at once: a reset, and an error status.
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
                    # Compressed answers have no ranges and no sizes that could be compared.
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
                # The hub's file is shorter: what we have is not the start of it.
                _empty(file)
            delay_s = retry_delay_s(error, failures, most=_RETRIES)
            if delay_s is None:
                raise
            progress.retries(blob.path)
            time.sleep(delay_s)
        except OSError as error:
            if error.errno is not None:
                raise
            # More or fewer bytes than announced, which has no number.
            _empty(file)
            return


class _Bar:
    """Stands for the progress bar of tqdm that ``http_get`` updates.

    Args:
        blob: The file.
        progress: Told how many bytes are there.
        initial: How many were there before.
    """

    def __init__(self, blob: Blob, progress: DownloadProgress, *, initial: int, **_: object) -> None:
        self._blob, self._progress, self._done_bytes = blob, progress, initial

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def update(self, count: int) -> None:
        """Note bytes that have arrived and are written next; negative where the file is begun anew."""
        self._done_bytes += count
        if self._done_bytes > self._blob.size_bytes:
            raise OSError("more bytes than the hub announced")
        self._progress.at(self._done_bytes, self._blob.path)


def _locked(path: Path, on_wait: Callable[[], None]) -> ExitStack:
    """Take the lock of a file, calling ``on_wait`` again and again while another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    held = ExitStack()
    while True:
        try:
            held.enter_context(WeakFileLock(path, timeout=_LOCK_POLL_S))
            return held
        except TimeoutError:
            on_wait()


def _digest(file: IO[bytes], blob: Blob) -> str:
    """Hash a whole file as the hub does: git's SHA-1 has the object's type and size in front."""
    if len(blob.digest) == 64:
        state = hashlib.sha256
    else:
        state = functools.partial(hashlib.sha1, f"blob {_size(file)}\0".encode(), usedforsecurity=False)
    file.seek(0)
    return hashlib.file_digest(file, state).hexdigest()  # type: ignore[arg-type]  # a file opened for reading, too


def _empty(file: IO[bytes]) -> int:
    file.seek(0)
    return file.truncate(0)


def _size(file: IO[bytes] | Path) -> int:
    try:
        return (file.stat() if isinstance(file, Path) else os.fstat(file.fileno())).st_size
    except FileNotFoundError:
        return 0
