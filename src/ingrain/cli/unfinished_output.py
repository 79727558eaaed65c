"""The unfinished output of `ingrain embed`: the rows so far, and a note with their count."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ingrain.cli.embed_outputs import Floats, Writer, width_of
from ingrain.errors import SettingsError
from ingrain.repository.lock import if_free

_NOTE_EVERY_S = 0.5


class Progress(msgspec.Struct, kw_only=True):
    """How far an unfinished output is.

    Attributes:
        what: The run's options; only a run with the same options continues.
        rows: Number of written rows.
        width: ``D``; 0 before the first row.
        size_bytes: Size of the file up to the last of these rows; later bytes are a partial row.
        items_sha256: Hash of the items of these rows; only a run with the same items continues.
    """

    what: dict[str, object]
    rows: int = 0
    width: int = 0
    size_bytes: int = 0
    items_sha256: str = ""


class UnfinishedOutput:
    """An output to which rows are appended; it gets its final name when it is complete.

    Args:
        output: Path of the output.
        writer: Writer of the output's format.
        what: The run's options.
        force: True to start over and replace existing files.

    Raises:
        SettingsError: The output exists, or the unfinished output belongs to another run.
    """

    def __init__(self, output: Path, writer: Writer, what: Mapping[str, object], *, force: bool) -> None:
        self._output = output
        self._path = output.with_name(output.name + ".part")
        self._note = output.with_name(output.name + ".part.json")
        self._writer = writer
        self._hash = hashlib.sha256()
        self._noted_at = 0.0
        if output.exists() and not force:
            raise SettingsError(f"{output} is there already; --force replaces it.", param="--output")
        self.progress = self._read(dict(what), force=force)

    @property
    def rows(self) -> int:
        """How many rows an earlier run, or this one, has written."""
        return self.progress.rows

    def check(self, items: Iterable[str]) -> None:
        """Compare the items of the rows that an earlier run has written with those of now.

        Raises:
            SettingsError: They differ.
        """
        for item in items:
            self._count(item)
        if self._hash.hexdigest() != self.progress.items_sha256:
            raise SettingsError(f"{self._path} belongs to other input; --force starts over.", param="--force")

    @contextmanager
    def open(self) -> Iterator[None]:
        """Open the file for appending; write the note at the end, also after an error."""
        with if_free(self._path.with_name(self._path.name + ".lock")) as free:
            if not free:
                raise SettingsError(f"Another `ingrain embed` writes {self._output}.", param="--output")
            with self._path.open("r+b" if self.progress.rows else "wb") as self._file:
                self._file.truncate(self.progress.size_bytes)
                self._file.seek(self.progress.size_bytes)
                try:
                    yield
                finally:
                    self._file.flush()
                    self._write_note()

    def add(self, items: Sequence[str], vectors: Floats | list[dict[str, object]]) -> None:
        """Append rows; sparse ones, and several vectors for an item, are a list.

        Raises:
            SettingsError: Their width is not that of the rows before.
        """
        progress, width = self.progress, width_of(vectors)
        data = b"" if progress.rows else self._writer.head(width)
        if progress.rows and width != progress.width:
            raise SettingsError(
                f"{self._path} holds vectors of {progress.width} dimensions, and the model now gives "
                f"{width}; --force starts over.",
                param="--force",
            )
        rows: Any = vectors if isinstance(vectors, list) else np.asarray(vectors, np.float32)
        data += self._writer.rows(progress.rows, items, rows)
        self._file.write(data)
        for item in items:
            self._count(item)
        progress.rows += len(items)
        progress.width = width
        progress.size_bytes += len(data)
        if time.monotonic() - self._noted_at > _NOTE_EVERY_S:
            self._file.flush()
            self._write_note()

    def finish(self) -> None:
        """Put the output in its place; to be called after ``open`` has ended well."""
        self._writer.finish(self._path, self.progress.rows, self.progress.width)
        self._path.replace(self._output)
        self._note.unlink(missing_ok=True)
        self._path.with_name(self._path.name + ".lock").unlink(missing_ok=True)

    def _count(self, item: str) -> None:
        data = item.encode("utf-8", "surrogatepass")
        self._hash.update(len(data).to_bytes(8, "little") + data)

    def _read(self, what: dict[str, object], *, force: bool) -> Progress:
        fresh = Progress(what=what, items_sha256=hashlib.sha256().hexdigest())
        if force or not self._note.exists() or not self._path.exists():
            return fresh
        try:
            found = msgspec.json.decode(self._note.read_bytes(), type=Progress)
            is_whole = self._path.stat().st_size >= found.size_bytes
        except (OSError, msgspec.MsgspecError):
            is_whole = False
        if not is_whole:
            raise SettingsError(f"{self._path} is damaged; --force starts over.", param="--force")
        differing = [name for name in what if found.what.get(name) != what[name]]
        if differing:
            raise SettingsError(
                f"{self._path} was made with another {differing[0]}: {found.what.get(differing[0])!r}, not "
                f"{what[differing[0]]!r}; --force starts over.",
                param="--force",
            )
        return found

    def _write_note(self) -> None:
        """Replace the note as a whole; the rows it counts are in the file before it says so."""
        self.progress.items_sha256 = self._hash.hexdigest()
        new = self._note.with_name(self._note.name + ".new")
        new.write_bytes(msgspec.json.encode(self.progress))
        os.replace(new, self._note)  # noqa: PTH105 - the atomic form, said plainly
        self._noted_at = time.monotonic()
