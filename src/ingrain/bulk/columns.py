"""Reads items from a column of a batch, and adds the column of their vectors: Arrow, pandas or NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ingrain.bulk.wanted import Found, Items, Wanted
from ingrain.errors import InvalidRequestError, SettingsError

_KINDS: dict[Items, tuple[type, ...]] = {"texts": (str,), "images": (str, bytes)}


def embed_values(embed: Callable[[Sequence[Any]], Found], wanted: Wanted, values: Sequence[Any], column: str) -> Any:
    """Embed the values of a column.

    Args:
        embed: Embeds items; ``embed`` of a model.
        wanted: What it computes.
        values: The values; None and NaN stand for a missing one.
        column: Name of the column, for errors.

    Returns:
        An Arrow array as ``arrow_rows`` makes it, with null for a missing value and for a bad image.

    Raises:
        InvalidRequestError: A value is neither missing nor a text, or image.
    """
    import pyarrow

    places = [place for place, value in enumerate(values) if value is not None and value == value]  # NaN is not
    for place in places:
        if not isinstance(values[place], _KINDS[wanted.items]):
            raise InvalidRequestError(
                f"Row {place} of column {column!r} holds {type(values[place]).__name__}, not "
                f"{'a text' if wanted.items == 'texts' else 'a URL or bytes'}.",
                param=column,
            )
    found = embed([values[place] for place in places]) if places else Found([])
    bad = set(found.bad)
    good = [place for number, place in enumerate(places) if number not in bad]
    rows = arrow_rows(found.rows, wanted)
    if len(good) == len(values):
        return rows
    taken: list[int | None] = [None] * len(values)
    for number, place in enumerate(good):
        taken[place] = number
    return rows.take(pyarrow.array(taken, pyarrow.int64()))


def arrow_rows(rows: Any, wanted: Wanted) -> Any:
    """Return vectors as an Arrow array.

    Returns:
        ``fixed_size_list`` of the dense vectors' own type; ``struct`` of ``indices`` (``list<int32>``) and ``values``
        (``list<float>``); or ``list<list<float>>``. No dense rows, whose width is unknown, have the type ``list``.
    """
    import pyarrow

    if len(rows) == 0:
        return pyarrow.array([], _type_of(wanted))
    if wanted.output == "dense":
        vectors = np.ascontiguousarray(rows)
        return pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(vectors.ravel()), vectors.shape[1])
    if wanted.output == "sparse":
        offsets = _offsets([len(row.indices) for row in rows])
        indices = np.concatenate([np.asarray(row.indices, np.int32) for row in rows])
        values = np.concatenate([np.asarray(row.values, np.float32) for row in rows])
        lists = [pyarrow.ListArray.from_arrays(offsets, pyarrow.array(part)) for part in (indices, values)]
        return pyarrow.StructArray.from_arrays(lists, ["indices", "values"])
    vectors = np.ascontiguousarray(np.concatenate([np.asarray(row, np.float32) for row in rows]))
    places = pyarrow.array(np.arange(len(vectors) + 1, dtype=np.int32) * vectors.shape[1])
    flat = pyarrow.ListArray.from_arrays(places, pyarrow.array(vectors.ravel()))
    return pyarrow.ListArray.from_arrays(_offsets([len(row) for row in rows]), flat)


def storable(rows: Any) -> Any:
    """Return vectors in the type that Parquet files have: Arrow cannot read a missing list of fixed size back."""
    import pyarrow

    return rows.cast(pyarrow.list_(rows.type.value_type)) if pyarrow.types.is_fixed_size_list(rows.type) else rows


def _type_of(wanted: Wanted) -> Any:
    import pyarrow

    floats = pyarrow.list_(pyarrow.float32())
    if wanted.output == "sparse":
        return pyarrow.struct({"indices": pyarrow.list_(pyarrow.int32()), "values": floats})
    if wanted.output == "multiVector":
        return pyarrow.list_(floats)
    numbers = {"float": pyarrow.float32(), "uint8": pyarrow.uint8(), "ubinary": pyarrow.uint8()}
    return pyarrow.list_(numbers.get(wanted.output_dtype, pyarrow.int8()))


def _offsets(lengths: Sequence[int]) -> Any:
    import pyarrow

    return pyarrow.array(np.concatenate([[0], np.cumsum(lengths)]), pyarrow.int32())


def values_of(batch: Any, column: str) -> list[Any]:
    """Return the values of a column.

    Raises:
        SettingsError: The batch has no such column.
    """
    names = list(getattr(batch, "column_names", None) or (batch if isinstance(batch, dict) else batch.columns))
    if column not in names:
        raise SettingsError(
            f"There is no column {column!r}, but {', '.join(map(repr, map(str, names)))}.", param="column"
        )
    values = batch[column]
    return list(values.to_pylist() if hasattr(values, "to_pylist") else values.tolist())


def with_rows(batch: Any, column: str, rows: Any) -> Any:
    """Return the batch with the column ``rows``, an Arrow array, in the batch's own form.

    In a dict of NumPy arrays dense vectors without a missing one are an array ``[N, D]``, all else an array of objects.
    """
    if hasattr(batch, "append_column"):
        kept = batch.drop_columns([column]) if column in batch.column_names else batch
        return kept.append_column(column, storable(rows))
    if isinstance(batch, dict):
        return {**batch, column: _numpy(rows)}
    return batch.assign(**{column: list(_numpy(rows))})


def _numpy(rows: Any) -> Any:
    import pyarrow

    if pyarrow.types.is_fixed_size_list(rows.type) and not rows.null_count:
        return rows.flatten().to_numpy(zero_copy_only=False).reshape(len(rows), rows.type.list_size)
    objects = np.empty(len(rows), object)
    for place, row in enumerate(rows.to_pylist()):
        objects[place] = row
    return objects
