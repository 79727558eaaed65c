"""Reads the rows of a split with all their columns, and writes rows with their vectors as one part."""

from __future__ import annotations

import csv
import io
from typing import Any, Literal

import orjson

from ingrain.bulk.columns import storable
from ingrain.bulk.splits import DELIMITERS, LONGEST_CELL, Split
from ingrain.bulk.storage import opened
from ingrain.errors import InvalidRequestError, SettingsError

OutputFormat = Literal["parquet", "jsonl", "csv"]
Records = list[dict[str, Any]]


def read_rows(split: Split, column: str) -> Any:
    """Return the rows of a split: an Arrow table of Parquet, else records, whose cells of a table are texts.

    Args:
        split: The split.
        column: Column of a file of plain lines, and of JSON lines that hold no objects.

    Raises:
        InvalidRequestError: A line cannot be read; the message names file and place.
    """
    if split.format == "parquet":
        return _parquet(split)
    with opened(split.path) as source:
        source.seek(split.start)
        data = source.read(split.end - split.start)
    try:
        if split.format in DELIMITERS:
            return _table(data.decode("utf-8"), split)
        lines = data.decode("utf-8").removesuffix("\n").split("\n")
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidRequestError(f"{_named(split)} cannot be read as UTF-8 text.") from error
    if split.format == "lines":
        return [{column: line.removesuffix("\r")} for line in lines]
    records: Records = []
    for number, line in enumerate(lines):
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise InvalidRequestError(f"{_named(split)}: line {number} of these is not JSON.") from error
        records.append(value if isinstance(value, dict) else {column: value})
    return records


def _table(text: str, split: Split) -> Records:
    csv.field_size_limit(LONGEST_CELL)
    rows = csv.DictReader(io.StringIO(text, newline=""), split.header, delimiter=DELIMITERS[split.format])
    records = list(rows)
    if any(None in record for record in records):
        raise InvalidRequestError(f"{_named(split)} has a row with more cells than the table has columns.")
    return records


def _parquet(split: Split) -> Any:
    import pyarrow
    from pyarrow import parquet

    with opened(split.path) as source:
        file, first = parquet.ParquetFile(source), 0
        groups: list[int] = []
        skipped = 0
        for number in range(file.metadata.num_row_groups):
            behind = first + file.metadata.row_group(number).num_rows
            if first < split.end and behind > split.start:
                if not groups:
                    skipped = split.start - first
                groups.append(number)
            first = behind
        # In batches, so that a file that is one group need not fit the memory.
        kept, place = [], 0
        wanted = range(skipped, skipped + split.end - split.start)
        for batch in file.iter_batches(row_groups=groups):
            begin, end = max(place, wanted.start), min(place + len(batch), wanted.stop)
            if begin < end:
                kept.append(batch.slice(begin - place, end - begin))
            place += len(batch)
            if place >= wanted.stop:
                break
        return pyarrow.Table.from_batches(kept, schema=file.schema_arrow)


def column_of(rows: Any, column: str, split: Split) -> list[Any]:
    """Return the values of a column; None where a record has none.

    Raises:
        SettingsError: No row has this column.
    """
    if not isinstance(rows, list):
        if column not in rows.column_names:
            raise _no_column(split, column, rows.column_names)
        return rows[column].to_pylist()  # type: ignore[no-any-return]  # Arrow has no types
    if not any(column in record for record in rows):
        raise _no_column(split, column, list(rows[0]) if rows else [])
    return [record.get(column) for record in rows]


def encode_rows(rows: Any, vectors: Any, *, column: str, output_format: OutputFormat, without: str | None) -> Any:
    """Return rows and their vectors as the bytes of a file.

    Args:
        rows: What ``read_rows`` gave.
        vectors: Arrow array of the vectors.
        column: Name of the column of vectors.
        output_format: Format of the file. CSV has a column for each dimension: ``d0``, ``d1``, ...
        without: Column of the input that is left out.

    Raises:
        SettingsError: The format cannot hold these rows.
    """
    if output_format == "jsonl":
        return _json_lines(rows, vectors, column, without)
    import pyarrow

    table = _arrow(rows)
    table = table.drop_columns([name for name in (column, without) if name in table.column_names])
    sink = pyarrow.BufferOutputStream()
    if output_format == "parquet":
        from pyarrow import parquet

        parquet.write_table(table.append_column(column, storable(vectors)), sink, compression="zstd")
        return sink.getvalue()
    from pyarrow import ArrowInvalid
    from pyarrow import csv as arrow_csv

    if not pyarrow.types.is_fixed_size_list(vectors.type):
        raise SettingsError("CSV holds dense vectors only.", param="--output-format")
    width, filled = vectors.type.list_size, vectors.fill_null([None] * vectors.type.list_size)
    for dimension in range(width):
        table = table.append_column(f"d{dimension}", filled.flatten()[dimension::width])
    try:
        arrow_csv.write_csv(table, sink)
    except ArrowInvalid as error:
        raise SettingsError("CSV cannot hold a column of the input; write Parquet.", param="--output-format") from error
    return sink.getvalue()


def _arrow(rows: Any) -> Any:
    import pyarrow

    if not isinstance(rows, list):
        return rows
    names = dict.fromkeys(name for record in rows for name in record)
    try:
        columns = {name: pyarrow.array([record.get(name) for record in rows]) for name in names}
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError) as error:
        raise SettingsError(
            "Objects of the input have values of several types under one key; write JSON lines.",
            param="--output-format",
        ) from error
    # A key that is null in a whole part would have another type there than in the others.
    empty = [name for name, values in columns.items() if pyarrow.types.is_null(values.type)]
    return pyarrow.table(columns | {name: columns[name].cast(pyarrow.string()) for name in empty})


def _json_lines(rows: Any, vectors: Any, column: str, without: str | None) -> bytes:
    records = rows if isinstance(rows, list) else rows.to_pylist()
    lines = []
    try:
        for record, vector in zip(records, _plain(vectors), strict=True):
            kept = {name: value for name, value in record.items() if name != without}
            kept[column] = vector
            lines.append(orjson.dumps(kept, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE))
    except TypeError as error:
        raise SettingsError(
            "JSON cannot hold a column of the input; write Parquet.", param="--output-format"
        ) from error
    return b"".join(lines)


def _plain(vectors: Any) -> Any:
    """Return vectors for orjson: dense ones as an array, because floats of Python would have more digits."""
    import pyarrow

    if pyarrow.types.is_fixed_size_list(vectors.type) and not vectors.null_count:
        return vectors.flatten().to_numpy(zero_copy_only=False).reshape(len(vectors), -1)
    if pyarrow.types.is_fixed_size_list(vectors.type):
        return [None if row is None else _float32(row) for row in vectors.to_pylist()]
    return [None if row is None else _floats_within(row) for row in vectors.to_pylist()]


def _float32(numbers: Any) -> Any:
    import numpy as np

    return np.asarray(numbers, np.float32)


def _floats_within(row: Any) -> Any:
    """Return a sparse vector, or the several vectors of a text, with the digits of float32."""
    if isinstance(row, dict):
        return {"indices": row["indices"], "values": _float32(row["values"])}
    return [_float32(one) for one in row]


def _named(split: Split) -> str:
    return f"{split.path.partition('?')[0]}, bytes {split.start} to {split.end}"


def _no_column(split: Split, column: str, names: list[str]) -> SettingsError:
    found = ", ".join(map(repr, names)) or "none at all"
    return SettingsError(f"{split.path.partition('?')[0]} has no column {column!r}, but {found}.", param="--field")
