"""Columns of vectors: forms of batches, missing values, and the kinds of vectors."""

from types import SimpleNamespace

import numpy as np
import pyarrow
import pytest

from ingrain.bulk.columns import arrow_rows, embed_values, values_of, with_rows
from ingrain.bulk.wanted import Found, Wanted
from ingrain.errors import InvalidRequestError, SettingsError

DENSE = Wanted(model="m")


def lengths(texts) -> Found:
    return Found(np.array([[len(text), 1] for text in texts], np.float32))


def test_a_missing_value_has_a_missing_vector():
    rows = embed_values(lengths, DENSE, ["a", None, "abc", float("nan")], "text")
    assert rows.to_pylist() == [[1, 1], None, [3, 1], None]
    assert embed_values(lengths, DENSE, [None], "text").to_pylist() == [None]


def test_a_bad_image_has_none_either():
    wanted = Wanted(model="m", items="images", skip_bad_images=True)
    rows = embed_values(lambda _: Found(np.ones((1, 2), np.float32), [0]), wanted, [b"x", None, b"y"], "image")
    assert rows.to_pylist() == [None, None, [1, 1]]


def test_a_value_of_another_kind_is_refused_by_its_row():
    with pytest.raises(InvalidRequestError, match="Row 1 of column 'text' holds int"):
        embed_values(lengths, DENSE, ["a", 7], "text")


def test_sparse_and_several_vectors_keep_their_numbers():
    sparse = [SimpleNamespace(indices=[1, 5], values=[0.5, 2.0]), SimpleNamespace(indices=[], values=[])]
    rows = arrow_rows(sparse, Wanted(model="m", output="sparse"))
    assert rows.to_pylist() == [{"indices": [1, 5], "values": [0.5, 2.0]}, {"indices": [], "values": []}]
    several = [np.ones((2, 3), np.float32), np.zeros((1, 3), np.float32)]
    rows = arrow_rows(several, Wanted(model="m", output="multiVector"))
    assert rows.to_pylist() == [[[1, 1, 1], [1, 1, 1]], [[0, 0, 0]]]


def test_batches_keep_their_form_and_their_other_columns():
    rows = arrow_rows(np.ones((2, 3), np.int8), DENSE)
    arrays = with_rows({"id": np.arange(2), "text": np.array(["a", "b"], object)}, "vector", rows)
    assert (list(arrays), arrays["vector"].shape, arrays["vector"].dtype) == (["id", "text", "vector"], (2, 3), np.int8)
    table = pyarrow.table({"text": ["a", None], "vector": [1, 2]})
    assert values_of(table, "text") == ["a", None]
    assert with_rows(table, "vector", rows)["vector"].to_pylist() == [[1, 1, 1]] * 2
    with pytest.raises(SettingsError, match="no column 'words', but 'text', 'vector'"):
        values_of(table, "words")
    missing = with_rows({"text": np.array(["a", None], object)}, "vector", rows.take(pyarrow.array([0, None])))
    assert [row if row is None else list(row) for row in missing["vector"]] == [[1, 1, 1], None]


def test_pandas_keeps_its_form_too():
    pandas = pytest.importorskip("pandas", reason="pandas comes with Ray and Spark only")
    frame = pandas.DataFrame({"text": ["a", None]}, index=[7, 8])
    assert values_of(frame, "text") == ["a", None]
    done = with_rows(frame, "vector", embed_values(lengths, DENSE, values_of(frame, "text"), "text"))
    assert (list(done.index), list(done["vector"])) == ([7, 8], [[1.0, 1.0], None])
