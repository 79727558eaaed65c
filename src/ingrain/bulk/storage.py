"""Finds, reads and writes files on local disks and object storage, by path or URI."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import msgspec

from ingrain.errors import SettingsError
from ingrain.install_hint import install_hint

_IGNORED = ("_", ".")  # names of notes and temporary files, as in Hadoop, Spark and Arrow


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A file as it was when it was listed.

    Attributes:
        path: Path or URI.
        size_bytes: Its size.
        changed_ns: Time of its last change, in nanoseconds since 1970; 0 if the storage tells none.
    """

    path: str
    size_bytes: int
    changed_ns: int = 0


def filesystem_of(uri: str) -> tuple[Any, str]:
    """Return the Arrow filesystem of a path or URI, and the path in it.

    Arrow's own filesystems (``file``, ``s3``, ``gs``, ``abfs``, ``hdfs``) come first, then those of fsspec.

    Raises:
        SettingsError: There is no such filesystem, or a package is missing.
    """
    try:
        import pyarrow
        from pyarrow import fs
    except ImportError as error:
        raise SettingsError(f"Jobs of several files need pyarrow: {install_hint('parquet')}.") from error
    if "://" not in uri:
        return fs.LocalFileSystem(), str(Path(uri).expanduser().absolute())
    try:
        return fs.FileSystem.from_uri(uri)  # type: ignore[no-any-return]  # Arrow has no types
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError):
        pass
    scheme = uri.partition("://")[0]
    try:
        import fsspec

        found, path = fsspec.core.url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise SettingsError(
            f"{uri}: there is no filesystem for {scheme}:// here; fsspec and the package for it are needed.",
            param="FILE",
        ) from error
    return fs.PyFileSystem(fs.FSSpecHandler(found)), path


def list_files(uri: str) -> list[Seen]:
    """Return a file, or the files of a folder and its folders by path, without hidden ones.

    Raises:
        SettingsError: There is no such file, or it cannot be reached.
    """
    from pyarrow import fs

    found, path = filesystem_of(uri)
    with _reachable(uri):
        info = found.get_file_info(path)
        if info.type == fs.FileType.File:
            return [_seen(uri, info)]
        if info.type != fs.FileType.Directory:
            raise SettingsError(f"There is no file {uri}.", param="FILE")
        inside = found.get_file_info(fs.FileSelector(path, recursive=True))
    root = path.rstrip("/")
    files = [one for one in inside if one.type == fs.FileType.File]
    seen = [(one.path.removeprefix(root).lstrip("/"), one) for one in files]
    visible = [(name, one) for name, one in seen if not any(part.startswith(_IGNORED) for part in name.split("/"))]
    return [_seen(join(uri, name), one) for name, one in sorted(visible, key=lambda pair: pair[0])]


def join(folder: str, name: str) -> str:
    """Return the path or URI of a file in a folder; parameters of a URI stay behind the path."""
    plain, mark, parameters = folder.partition("?") if "://" in folder else (folder, "", "")
    return f"{plain.rstrip('/')}/{name}{mark}{parameters}"


@contextmanager
def opened(uri: str) -> Iterator[IO[bytes]]:
    """Open a file for reading at any place.

    Raises:
        SettingsError: It cannot be read.
    """
    found, path = filesystem_of(uri)
    with _reachable(uri), found.open_input_file(path) as file:
        yield file


def write_whole(uri: str, data: Any) -> None:
    """Write a file so that it is there whole or not at all, whatever fails and whoever writes it, too.

    On a local disk it gets its name when it is on the disk; object storage shows an object when it is complete.

    Args:
        uri: Path or URI.
        data: The bytes, or an Arrow buffer.
    """
    from pyarrow import fs

    found, path = filesystem_of(uri)
    with _reachable(uri):
        if not isinstance(found, fs.LocalFileSystem):
            with found.open_output_stream(path) as stream:
                stream.write(data)
            return
        final = Path(path)
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = final.with_name(f".{final.name}.{uuid.uuid4().hex}")
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(final)
        finally:
            temporary.unlink(missing_ok=True)


def read_if_there(uri: str) -> bytes | None:
    """Return the bytes of a file; None if there is none."""
    found, path = filesystem_of(uri)
    try:
        with _reachable(uri, FileNotFoundError), found.open_input_file(path) as file:
            return bytes(file.read())
    except FileNotFoundError:
        return None


def names_in(uri: str) -> list[str]:
    """Return the names of the files directly in a folder; none if there is no folder."""
    from pyarrow import fs

    found, path = filesystem_of(uri)
    with _reachable(uri):
        inside = found.get_file_info(fs.FileSelector(path, allow_not_found=True))
    return [one.base_name for one in inside if one.type == fs.FileType.File]


def remove(uri: str) -> None:
    """Remove a file."""
    found, path = filesystem_of(uri)
    with _reachable(uri):
        found.delete_file(path)


def _seen(uri: str, info: Any) -> Seen:
    return Seen(path=uri, size_bytes=info.size, changed_ns=info.mtime_ns or 0)


@contextmanager
def _reachable(uri: str, *passed_on: type[Exception]) -> Iterator[None]:
    """Translate the errors of filesystems, which are OSErrors all."""
    try:
        yield
    except OSError as error:
        if isinstance(error, passed_on):
            raise
        reason = error.strerror or type(error).__name__
        raise SettingsError(f"{uri.partition('?')[0]} cannot be reached ({reason}).", param="FILE") from error
