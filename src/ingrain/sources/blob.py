"""Receives a file's address on the hub, and hands on its checked bytes in the cache, resuming what was begun."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from huggingface_hub import get_session
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import hf_raise_for_status

from ingrain.errors import SourceUnavailableError
from ingrain.sources.hub_errors import RETRY_AFTER_S
from ingrain.sources.retry import Patience, Retries

_CHUNK_BYTES = 1 << 20
_LOCK_POLL_S = 0.2


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


def fetch_blob(
    blob: Blob,
    *,
    destination: Path,
    partial: Path,
    headers: dict[str, str],
    patience: Patience,
    on_bytes: Callable[[int], None],
) -> None:
    """Fetch a file into the cache.

    Bytes gather in ``partial``, which outlives a broken connection, this process and the machine's restart: whoever
    fetches the same file next asks only for the rest. They become ``destination`` once their digest is right. Of
    several processes that want the same file one fetches it, and the others wait.

    Args:
        blob: What to fetch.
        destination: Where the complete file goes.
        partial: Where it gathers, on the same file system.
        headers: HTTP headers with the caller's authorization.
        patience: How long to wait and how often to try.
        on_bytes: Called with the number of bytes that are there, again and again.

    Raises:
        HTTPError: Of huggingface_hub or its HTTP client, when patience has ended.
        SourceUnavailableError: The hub sent other bytes than it announced, twice.
        OSError: The disk is full or cannot be written.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    # The last of the two rounds starts from nothing: the first may have gone on with bytes that were wrong.
    for _ in range(2):
        with partial.open("ab+") as file:
            _lock(file, on_bytes)
            if destination.exists():
                _forget(file, partial)
                return
            _fill(file, blob, headers, patience, on_bytes)
            if _digest(file, blob) == blob.digest:
                os.fsync(file.fileno())
                partial.replace(destination)
                return
            file.truncate(0)
    raise SourceUnavailableError(
        f"The hub sent bytes for {blob.path!r} that do not match their checksum, twice. Try again later.",
        retry_after_s=RETRY_AFTER_S,
    )


def _fill(
    file: IO[bytes], blob: Blob, headers: dict[str, str], patience: Patience, on_bytes: Callable[[int], None]
) -> None:
    """Append what is missing, in as many requests as it takes; an attempt that brought bytes counts as none."""
    if _size(file) > blob.size_bytes:
        file.truncate(0)
    retries = Retries(patience)
    while (have := _size(file)) < blob.size_bytes:
        on_bytes(have)
        try:
            _append(file, have, blob, headers, patience, on_bytes)
        except Exception as error:  # Retries decides by type what is worth another try, and raises the rest again.
            if _size(file) > have:
                retries.start_over()
            retries.wait_or_raise(error, on_wait=lambda: on_bytes(_size(file)))
        else:
            if _size(file) <= have:
                raise SourceUnavailableError(
                    f"The hub sent fewer bytes of {blob.path!r} than it announced. Try again later.",
                    retry_after_s=RETRY_AFTER_S,
                )
    on_bytes(blob.size_bytes)


def _append(
    file: IO[bytes],
    have: int,
    blob: Blob,
    headers: dict[str, str],
    patience: Patience,
    on_bytes: Callable[[int], None],
) -> None:
    """Ask once for the bytes from ``have`` on, and write what comes."""
    # Compressed answers have no ranges and no sizes that could be compared.
    asked = {**headers, "Accept-Encoding": "identity"}
    if have:
        asked["Range"] = f"bytes={have}-"
    with get_session().stream("GET", blob.url, headers=asked, timeout=patience.timeouts()) as response:
        try:
            hf_raise_for_status(response)
        except HfHubHTTPError as error:
            if error.response.status_code != 416:
                raise
            # The range does not exist on the other side: what we have is not the start of this file.
            file.truncate(0)
            raise
        if have and not _continues(response, have):
            file.truncate(0)
            have = 0
        # As the network brings them: a chunk of a set size would be lost with the connection until it is full.
        for chunk in response.iter_bytes():
            file.write(chunk[: max(0, blob.size_bytes - have)])
            have += len(chunk)
            if have > blob.size_bytes:
                break
            file.flush()
            on_bytes(have)


def _continues(response: Any, have: int) -> bool:
    """Return True where the answer starts at the byte asked for; a server may send the whole file instead."""
    range_sent = str(response.headers.get("Content-Range", ""))
    return response.status_code == 206 and range_sent.removeprefix("bytes ").startswith(f"{have}-")


def _digest(file: IO[bytes], blob: Blob) -> str:
    """Hash the whole file as the hub does: git's SHA-1 has the object's type and size in front."""
    if len(blob.digest) == 64:
        state = hashlib.sha256()
    else:
        state = hashlib.sha1(f"blob {_size(file)}\0".encode(), usedforsecurity=False)
    file.seek(0)
    while chunk := file.read(_CHUNK_BYTES):
        state.update(chunk)
    return state.hexdigest()


def _lock(file: IO[bytes], on_bytes: Callable[[int], None]) -> None:
    """Wait until no other process writes to this file, passing on how far that one is."""
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in {errno.EAGAIN, errno.EACCES}:
                # A file system without locks. Two writers at once are then caught by the digest.
                return
        on_bytes(_size(file))
        time.sleep(_LOCK_POLL_S)


def _forget(file: IO[bytes], partial: Path) -> None:
    """Remove the empty file that opening made after another process had finished."""
    if _size(file) == 0:
        partial.unlink(missing_ok=True)


def _size(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_size
