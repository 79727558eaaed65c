"""Entries of sparse vectors: what fills up a batch is dropped, and a request gets those that it asks for."""

import numpy as np
import pytest

from ingrain.batching.ragged import entries_of
from ingrain.postprocess.sparse import choose_entries

VALUES = np.array([[0.0, 1.5, -2.0], [0.0, 0.0, 0.0], [0.5, 0.5, 3.0]], np.float32)
INDICES = np.array([[7, 9, 30_000_0], [0, 1, 2], [4, 5, 6]], np.int32)


def test_the_zeros_that_fill_up_a_batch_are_no_entries():
    rows = entries_of(VALUES, INDICES)
    assert [row.tolist() for row in rows] == [[[9, 1.5], [300_000, -2]], [], [[4, 0.5], [5, 0.5], [6, 3]]]


def test_a_batch_of_rows_of_equal_length_is_an_array_of_rows():
    rows = entries_of(VALUES[[2, 2]], INDICES[[2, 2]])
    assert rows.shape == (2,)
    assert rows[1].shape == (3, 2)


@pytest.mark.parametrize(
    ("top_k", "min_weight", "expected"),
    [
        (None, 0.0, [4, 5, 6]),
        (2, 0.0, [4, 6]),  # of equal ones the first
        (5, 0.0, [4, 5, 6]),
        (None, 0.6, [6]),
        (1, 9.0, []),
    ],
)
def test_entries_are_chosen_by_weight_and_stay_in_order(top_k, min_weight, expected):
    vector = choose_entries(entries_of(VALUES, INDICES)[2], top_k=top_k, min_weight=min_weight)
    assert vector.indices.tolist() == expected
    assert vector.indices.dtype == np.int32
    assert vector.values.dtype == np.float32


def test_a_negative_weight_counts_by_its_size():
    vector = choose_entries(entries_of(VALUES, INDICES)[0], top_k=1, min_weight=1.0)
    assert vector.indices.tolist() == [300_000]
    assert vector.values.tolist() == [-2.0]
