"""Readers of `ingrain embed`: texts from lines, JSON lines and tables; images from files, folders and URLs."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import orjson

from ingrain.errors import InvalidRequestError, SettingsError
from ingrain.install_hint import install_hint

InputFormat = Literal["lines", "jsonl", "csv", "tsv", "parquet"]

_SUFFIXES: dict[str, InputFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
_PICTURES = {".jpg", ".jpeg", ".jpe", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
_STDIN = "-"
# A cell of a table may hold a whole document.
_LONGEST_CELL = 64 * 1024 * 1024


def read_texts(sources: Iterable[str], *, input_format: InputFormat | None, field: str) -> Iterator[str]:
    """Yield the texts of several files.

    Args:
        sources: Paths; ``-`` for standard input.
        input_format: Format of the files; None to choose by suffix, and lines for an unknown suffix.
        field: Key of an object, or name of a column, with the text.

    Raises:
        SettingsError: A file cannot be read.
        InvalidRequestError: A line or row has no text; the message names file and line.
    """
    for source in sources:
        kind = input_format or _SUFFIXES.get(Path(source).suffix.lower(), "lines")
        if kind == "parquet":
            yield from _parquet(source, field)
            continue
        with _opened(source) as file:
            try:
                if kind == "lines":
                    yield from (line.removesuffix("\n").removesuffix("\r") for line in file)
                elif kind == "jsonl":
                    yield from _json_lines(file, source, field)
                else:
                    yield from _table(file, source, field, "\t" if kind == "tsv" else ",")
            except UnicodeDecodeError as error:
                raise InvalidRequestError(f"{source} is not UTF-8 text.") from error


def read_pictures(sources: Iterable[str]) -> Iterator[str]:
    """Yield the paths and URLs of images: a folder's images by name, standard input's line by line.

    Raises:
        SettingsError: There is no such file or folder.
    """
    for source in sources:
        if source == _STDIN:
            yield from (line.strip() for line in sys.stdin if line.strip())
        elif source.startswith(("http://", "https://")):
            yield source
        elif Path(source).is_dir():
            found = (path for path in Path(source).rglob("*") if path.suffix.lower() in _PICTURES and path.is_file())
            yield from map(str, sorted(found))
        elif Path(source).exists():
            yield source
        else:
            raise SettingsError(f"There is no picture {source}.", param="FILE")


@contextmanager
def _opened(source: str) -> Iterator[IO[str]]:
    if source == _STDIN:
        # Read UTF-8 regardless of the locale.
        with open(sys.stdin.fileno(), encoding="utf-8-sig", newline="\n", closefd=False) as stdin:
            yield stdin
        return
    try:
        with Path(source).open(encoding="utf-8-sig", newline="\n") as file:
            yield file
    except OSError as error:
        raise SettingsError(f"{source} cannot be read ({error.strerror}).", param="FILE") from error


def _json_lines(file: IO[str], source: str, field: str) -> Iterator[str]:
    for number, line in enumerate(file, 1):
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise InvalidRequestError(f"{source}, line {number} is not JSON.") from error
        yield _text(value.get(field) if isinstance(value, dict) else value, source, number, field)


def _table(file: IO[str], source: str, field: str, delimiter: str) -> Iterator[str]:
    csv.field_size_limit(_LONGEST_CELL)
    rows = csv.DictReader(file, delimiter=delimiter)
    try:
        if field not in (rows.fieldnames or ()):
            raise _no_column(source, field, rows.fieldnames or ())
        for row in rows:
            yield _text(row[field], source, rows.line_num, field)
    except csv.Error as error:
        raise InvalidRequestError(f"{source}, line {rows.line_num} cannot be read: {error}.") from error


def _parquet(source: str, field: str) -> Iterator[str]:
    parquet = import_parquet()
    import pyarrow

    try:
        file = parquet.ParquetFile(source)
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise SettingsError(f"{source} cannot be read as Parquet.", param="FILE") from error
    with file:
        if field not in file.schema_arrow.names:
            raise _no_column(source, field, file.schema_arrow.names)
        number = 0
        for batch in file.iter_batches(batch_size=1024, columns=[field]):
            for value in batch.column(0).to_pylist():
                number += 1
                yield _text(value, source, number, field)


def import_parquet() -> Any:
    """Return ``pyarrow.parquet``.

    Raises:
        SettingsError: pyarrow is not installed, or is incompatible with the installed numpy.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise SettingsError(f"Parquet files need pyarrow: {install_hint('parquet')}.") from error
    return pyarrow.parquet


def _text(value: object, source: str, number: int, field: str) -> str:
    if not isinstance(value, str):
        raise InvalidRequestError(f"{source}, line {number} has no text in {field!r}.", param="--field")
    return value


def _no_column(source: str, field: str, names: Iterable[str]) -> SettingsError:
    return SettingsError(f"{source} has no column {field!r}, but {', '.join(map(repr, names))}.", param="--field")
