"""Writers for the output formats of `ingrain embed`, which can continue an interrupted run."""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from ingrain.cli.embed_inputs import import_parquet

if TYPE_CHECKING:
    from ingrain.client.sparse import SparseEmbeddings
    from ingrain.client.text_outputs import TextEmbeddings

Floats = NDArray[np.float32]
OutputFormat = Literal["jsonl", "csv", "parquet", "npy"]
SUFFIXES: dict[str, OutputFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
    ".npy": "npy",
}
"""Format by suffix of the output file."""

# Large enough for any number of rows, so that the header can be overwritten at the end.
_NPY_HEADER_BYTES = 128
_ROW_GROUP = 8192


class Writer(ABC):
    """Encodes rows as bytes to append to a file; appended bytes do not change before ``finish``.

    Args:
        item_name: Name of the item's column or key; None to leave out the item.
    """

    def __init__(self, item_name: str | None) -> None:
        self._item_name = item_name

    def head(self, width: int) -> bytes:
        """Return the bytes before the first row; ``width`` is ``D``."""
        del width
        return b""

    @abstractmethod
    def rows(self, first: int, items: Sequence[str], vectors: Floats) -> bytes:
        """Return encoded rows; ``first`` is the index of the first row, ``vectors`` is ``[N, D]``."""

    def finish(self, part: Path, rows: int, width: int) -> None:  # noqa: B027 - most formats need no such step
        """Complete the file ``part`` in place."""


class JsonLines(Writer):
    """An object a line: ``index``, the item under its own name, ``embedding``: one vector, or a list of several."""

    def rows(self, first: int, items: Sequence[str], vectors: Floats) -> bytes:
        """Return a line for each row."""
        lines = []
        for number, (item, vector) in enumerate(zip(items, vectors, strict=True), first):
            record: dict[str, object] = {"index": number}
            if self._item_name is not None:
                record[self._item_name] = item
            lines.append(orjson.dumps(record | {"embedding": vector}, option=_JSON_LINE))
        return b"".join(lines)


class SparseLines(JsonLines):
    """An object a line, as ``JsonLines`` writes it; ``embedding`` has ``indices``, ``values`` and maybe ``tokens``."""


class OutputLines(JsonLines):
    """An object a line with a key for each requested output: ``embedding``, ``sparseEmbedding``, ..."""

    def rows(self, first: int, items: Sequence[str], vectors: Any) -> bytes:
        """Return a line for each row; ``vectors`` are those of ``output_rows``."""
        lines = []
        for number, (item, record) in enumerate(zip(items, vectors, strict=True), first):
            named = {} if self._item_name is None else {self._item_name: item}
            lines.append(orjson.dumps({"index": number, **named, **record}, option=_JSON_LINE))
        return b"".join(lines)


def output_rows(answer: TextEmbeddings) -> list[dict[str, object]]:
    """Return the rows that ``OutputLines`` writes."""
    sparse = answer.sparse_embeddings
    kinds: dict[str, Any] = {
        "embedding": answer.embeddings,
        "sparseEmbedding": [{"indices": one.indices, "values": one.values} for one in sparse or ()],
        "multiVectorEmbedding": answer.multi_vector_embeddings or (),
    }
    given = {name: rows for name, rows in kinds.items() if len(rows)}
    return [dict(zip(given, rows, strict=True)) for rows in zip(*given.values(), strict=True)]


def sparse_rows(answer: SparseEmbeddings) -> list[dict[str, object]]:
    """Return the rows that ``SparseLines`` writes."""
    return [{name: value for name, value in dict(one).items() if value is not None} for one in answer.embeddings]


def width_of(rows: Floats | list[Any]) -> int:
    """Return the number of dimensions of vectors, 0 for sparse ones and for several of one text."""
    return 0 if isinstance(rows, list) else rows.shape[1]


class Csv(Writer):
    """A table: ``index``, the item under its own name, a column for each dimension."""

    def head(self, width: int) -> bytes:
        """Return the names of the columns."""
        names = ["index", *([self._item_name] if self._item_name else []), *(f"d{number}" for number in range(width))]
        return (",".join(names) + "\n").encode()

    def rows(self, first: int, items: Sequence[str], vectors: Floats) -> bytes:
        """Return a line for each row; a text with line breaks is quoted, as CSV has it."""
        out = StringIO()
        cells = csv.writer(out, lineterminator="")
        for number, (item, vector) in enumerate(zip(items, vectors, strict=True), first):
            cells.writerow([number, item] if self._item_name else [number])
            # The shortest digits that represent the exact float32, as in JSON.
            numbers = orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].decode()
            out.write(f",{numbers}\n")
        return out.getvalue().encode("utf-8", "surrogatepass")


class Npy(Writer):
    """A matrix, float32 ``[N, D]``, for ``numpy.load``."""

    def head(self, width: int) -> bytes:
        """Return room for the header, which ``finish`` writes when the number of rows is known."""
        del width
        return bytes(_NPY_HEADER_BYTES)

    def rows(self, first: int, items: Sequence[str], vectors: Floats) -> bytes:
        """Return the raw numbers."""
        del first, items
        return vectors.astype("<f4", copy=False).tobytes()

    def finish(self, part: Path, rows: int, width: int) -> None:
        """Write the header (NEP 1, version 1.0)."""
        described = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}"
        length = _NPY_HEADER_BYTES - 10
        header = b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + described.ljust(length - 1).encode() + b"\n"
        with part.open("r+b") as file:
            file.write(header)


class Parquet(JsonLines):
    """A table: ``index``, the item under its own name, ``embedding`` as a list of fixed size.

    A Parquet file has its index at the end and cannot be appended to, so rows are first collected as JSON lines.
    """

    def __init__(self, item_name: str | None) -> None:
        import_parquet()  # raises now if pyarrow is missing, and not after the last row
        super().__init__(item_name)

    def finish(self, part: Path, rows: int, width: int) -> None:
        """Convert the JSON lines to Parquet."""
        del rows
        import pyarrow

        schema = [("index", pyarrow.int64())]
        if self._item_name is not None:
            schema.append((self._item_name, pyarrow.string()))
        schema.append(("embedding", pyarrow.list_(pyarrow.float32(), width)))
        made = part.with_name(part.name + ".parquet")
        with (
            part.open("rb") as lines,
            import_parquet().ParquetWriter(made, pyarrow.schema(schema), compression="zstd") as table,
        ):
            for group in _groups(lines):
                columns = [[record[name] for record in group] for name, _ in schema]
                arrays = [pyarrow.array(column, kind) for column, (_, kind) in zip(columns, schema, strict=True)]
                table.write_table(pyarrow.table(arrays, pyarrow.schema(schema)))
        made.replace(part)


_WRITERS: dict[OutputFormat, type[Writer]] = {"jsonl": JsonLines, "csv": Csv, "parquet": Parquet, "npy": Npy}


def make_writer(output_format: OutputFormat, item_name: str | None) -> Writer:
    """Return the writer of a format.

    Raises:
        SettingsError: The format needs a package that is not installed.
    """
    return _WRITERS[output_format](item_name)


_JSON_LINE = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE


def _groups(lines: IO[bytes]) -> Iterator[list[Any]]:
    group = []
    for line in lines:
        group.append(orjson.loads(line))
        if len(group) == _ROW_GROUP:
            yield group
            group = []
    if group:
        yield group
