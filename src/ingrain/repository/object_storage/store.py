"""Objects of one bucket, through fsspec: the only module that calls it, and that knows its errors."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ingrain.errors import SettingsError, StorageRefusedError, StorageUnavailableError
from ingrain.install_hint import install_hint
from ingrain.machine_faults import raise_if_machines

RETRY_AFTER_S = 10.0

# Waiting for a connection or for the next piece of an answer is bounded; a slow but steady transfer is not.
_S3 = {"connect_timeout": 3, "read_timeout": 10, "retries": {"total_max_attempts": 1}}
_TRIES = 2  # of s3fs; each may wait as long as a timeout
_OPTIONS: dict[str, dict[str, Any]] = {"s3": {"config_kwargs": _S3}, "gs": {}, "az": {"anon": False}}
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs"}
CREDENTIALS = ("AWS_", "AZURE_", "GOOGLE_", "GCSFS_", "FSSPEC_")
"""How the names of variables begin that may hold credentials; child processes need none of them."""
_MARKS = ("ETag", "etag", "generation", "LastModified", "last_modified", "updated", "mtime")
_DENIED = (
    "The object storage of the model repository denies access. Check the provider's credentials in the environment, "
    "and that they may list, read, write and delete objects below INGRAIN_REPOSITORY."
)
_MISSING = "The bucket of the model repository does not exist. Create it, or correct INGRAIN_REPOSITORY."
_DOWN = "The object storage of the model repository cannot be reached, or failed"


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """Size of an object in bytes, and a text that changes when it is written again."""

    size_bytes: int
    mark: str


def is_url(repository: str) -> bool:
    """Return whether a value of INGRAIN_REPOSITORY names object storage."""
    return "://" in str(repository)


class ObjectStore:
    """Objects below a prefix of a bucket, by their path relative to it; blocks on the network.

    Every method may raise:
        StorageRefusedError: Access is denied, or the bucket does not exist.
        StorageUnavailableError: The storage cannot be reached, or failed, also after trying again.

    Args:
        url: ``s3://bucket/prefix``, ``gs://…`` or ``az://…``.

    Raises:
        SettingsError: The URL has another form, or the provider's package is not installed.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in _OPTIONS or not parts.netloc or "@" in parts.netloc or parts.query or parts.fragment:
            raise SettingsError(
                "INGRAIN_REPOSITORY must be a folder, or s3://bucket/prefix, gs://bucket/prefix or "
                "az://container/prefix, without credentials and parameters.",
                param="INGRAIN_REPOSITORY",
            )
        self._root = f"{parts.netloc}{parts.path}".rstrip("/")
        try:
            import fsspec

            files = fsspec.get_filesystem_class(parts.scheme)
        except ImportError as error:
            package = _PACKAGES[parts.scheme]
            how = install_hint("object-storage") if package == "s3fs" else f"pip install {package}"
            raise SettingsError(
                f"INGRAIN_REPOSITORY is {parts.scheme}://…, which needs the package {package}: {how}",
                param="INGRAIN_REPOSITORY",
            ) from error
        self._files = files(use_listings_cache=False, skip_instance_cache=True, **_OPTIONS[parts.scheme])
        self._files.retries = _TRIES

    def check(self) -> None:
        """Check that objects can be listed and written."""
        self.list("index")
        self.write("probe", b"")

    def list(self, folder: str) -> dict[str, ObjectInfo]:
        """Return the objects below a folder by path, sorted; none if there is none."""
        with _translated(missing=_MISSING):
            found = self._files.find(self._path(folder), detail=True)
        return {
            path.removeprefix(f"{self._root}/"): ObjectInfo(int(info["size"]), _mark(info))
            for path, info in sorted(found.items())
        }

    def read(self, path: str) -> bytes | None:
        """Return the content of a small object; None if there is none."""
        try:
            with _translated():
                return bytes(self._files.cat_file(self._path(path)))
        except FileNotFoundError:
            return None

    def write(self, path: str, content: bytes) -> None:
        """Write a small object; readers see either the old content or the new one."""
        with _translated(missing=_MISSING):
            self._files.pipe_file(self._path(path), content)

    def create(self, path: str, content: bytes) -> bool:
        """Write a small object unless it exists; return False if it does.

        The storage decides: by ``If-None-Match: *`` on S3, and by its counterparts on the others.
        """
        try:
            with _translated(missing=_MISSING):
                self._files.pipe_file(self._path(path), content, mode="create")
        except FileExistsError:
            return False
        return True

    def remove(self, paths: Iterable[str]) -> None:
        """Remove objects; skip missing ones."""
        for path in paths:
            try:
                with _translated():
                    self._files.rm_file(self._path(path))
            except FileNotFoundError:
                pass

    def upload(self, file: Path, path: str) -> None:
        """Write an object from a file; it does not exist before all of it has arrived."""
        with _translated(missing=_MISSING):
            self._files.put_file(str(file), self._path(path))

    def download(self, path: str, file: Path) -> None:
        """Write a file from an object.

        Raises:
            FileNotFoundError: There is no such object.
        """
        with _translated():
            self._files.get_file(self._path(path), str(file))

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}"


@contextmanager
def _translated(missing: str | None = None) -> Iterator[None]:
    """Translate the errors of fsspec and of the providers' packages.

    Args:
        missing: Message in place of FileNotFoundError and where only a missing bucket can be the cause; None to leave
            the error to the caller.
    """
    try:
        yield
    except FileExistsError:
        raise
    except FileNotFoundError as error:
        if missing is None:
            raise
        raise StorageRefusedError(missing, retry_after_s=RETRY_AFTER_S) from error
    except Exception as error:  # each provider's package has errors of its own, and no common class
        if isinstance(error, PermissionError) or type(error).__name__ == "NoCredentialsError":
            raise StorageRefusedError(_DENIED, retry_after_s=RETRY_AFTER_S) from error
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise_if_machines(error)
        raise StorageUnavailableError(f"{_DOWN} ({type(error).__name__}).", retry_after_s=RETRY_AFTER_S) from error


def _mark(info: dict[str, Any]) -> str:
    """Return what changes when an object is written again, by whichever name the provider's package has it."""
    return " ".join(str(info[name]) for name in _MARKS if info.get(name) is not None)
