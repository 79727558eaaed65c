"""Splits the input of a job: always the same way, and without reading more of a file than is needed for it."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import IO, Literal

import msgspec

from ingrain.bulk.storage import Seen, opened
from ingrain.errors import SettingsError

InputFormat = Literal["lines", "jsonl", "csv", "tsv", "parquet"]
SUFFIXES: dict[str, InputFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
"""Format by suffix of a file; lines for any other."""
LONGEST_CELL = 64 * 1024 * 1024
"""A cell of a table may hold a whole document."""
DELIMITERS = {"csv": ",", "tsv": "\t"}
BOM = b"\xef\xbb\xbf"

_MOST_BYTES = 64 * 1024 * 1024  # of input in a part, so that pictures and long documents fit the memory
_SAMPLE_BYTES = 256 * 1024


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of an input file, from which one part of the output is made.

    Attributes:
        path: Path or URI of the file.
        format: Format of the file.
        start: First byte; of Parquet, first row.
        end: Byte, or row, behind the last one.
        rows: Number of rows; None if nobody has counted them.
        header: Names of the columns of a table.
    """

    path: str
    format: InputFormat
    start: int
    end: int
    rows: int | None = None
    header: list[str] = []


def format_of(path: str, given: InputFormat | None) -> InputFormat:
    """Return the format of a file: the given one, else by suffix."""
    suffix = PurePosixPath(path.partition("?")[0] if "://" in path else path).suffix.lower()
    return given or SUFFIXES.get(suffix, "lines")


def split_file(file: Seen, kind: InputFormat, *, rows_a_part: int) -> Iterator[Split]:
    """Yield the splits of a file in order, of about ``rows_a_part`` rows each.

    Of Parquet only the index is read, of lines and JSON lines a few bytes around each boundary. Of a table every byte
    is, because a line break may belong to a quoted cell.

    Raises:
        SettingsError: The file cannot be read.
    """
    if kind == "parquet":
        return _parquet(file, rows_a_part)
    if kind in DELIMITERS:
        return _table(file, kind, rows_a_part)
    return _lines(file, kind, rows_a_part)


def _parquet(file: Seen, rows_a_part: int) -> Iterator[Split]:
    from pyarrow import ArrowInvalid, parquet

    with opened(file.path) as source:
        try:
            metadata = parquet.ParquetFile(source).metadata
        except ArrowInvalid as error:
            raise SettingsError(f"{file.path} cannot be read as Parquet.", param="FILE") from error
    sizes = [metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups)]
    count = metadata.num_rows
    step = max(1, min(rows_a_part, _MOST_BYTES * count // max(1, sum(sizes))))
    for start in range(0, count, step):
        end = min(count, start + step)
        yield Split(path=file.path, format="parquet", start=start, end=end, rows=end - start)


def _lines(file: Seen, kind: InputFormat, rows_a_part: int) -> Iterator[Split]:
    with opened(file.path) as source:
        sample = source.read(_SAMPLE_BYTES)
        step = min(_MOST_BYTES, rows_a_part * len(sample) // max(1, sample.count(b"\n")))
        start = len(BOM) if sample.startswith(BOM) else 0
        while start < file.size_bytes:
            end = _after_line(source, start + max(1, step) - 1, file.size_bytes)
            yield Split(path=file.path, format=kind, start=start, end=end)
            start = end


def _after_line(source: IO[bytes], place: int, size: int) -> int:
    """Return the place behind the first line break at or after ``place``."""
    source.seek(min(place, size))
    while block := source.read(_SAMPLE_BYTES):
        if (found := block.find(b"\n")) >= 0:
            return min(place, size) + found + 1
        place += len(block)
    return size


def _table(file: Seen, kind: InputFormat, rows_a_part: int) -> Iterator[Split]:
    csv.field_size_limit(LONGEST_CELL)
    place = 0

    def lines(blocks: Iterable[bytes]) -> Iterator[str]:
        nonlocal place
        for line in blocks:
            place += len(line)
            # Quotes, delimiters and line breaks are ASCII, and no part of another character of UTF-8.
            yield line.decode("latin-1")

    with opened(file.path) as source:
        records = csv.reader(lines(_buffered(source)), delimiter=DELIMITERS[kind])
        try:
            first = next(records, [])
            header = [name.encode("latin-1").removeprefix(BOM).decode("utf-8") for name in first]
            start, rows = place, 0
            for record in records:
                rows += bool(record)  # an empty line is none, as for csv.DictReader
                if rows == rows_a_part or place - start >= _MOST_BYTES:
                    yield Split(path=file.path, format=kind, start=start, end=place, rows=rows, header=header)
                    start, rows = place, 0
            if rows:
                yield Split(path=file.path, format=kind, start=start, end=place, rows=rows, header=header)
        except (csv.Error, UnicodeDecodeError) as error:
            raise SettingsError(f"{file.path} cannot be read as a table, near byte {place}.", param="FILE") from error


def _buffered(source: IO[bytes]) -> Iterable[bytes]:
    """Yield lines; Arrow's files are slow at that."""
    left = b""
    while block := source.read(_SAMPLE_BYTES):
        *whole, left = (left + block).split(b"\n")
        yield from (line + b"\n" for line in whole)
    if left:
        yield left
