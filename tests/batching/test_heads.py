"""Rows of graphs with heads: entries without repetitions, several kinds in one row, and parts of their own kinds."""

import numpy as np

from ingrain.batching.heads import Asked, PartedRows, asked_lengths, texts_of
from ingrain.batching.ragged import entries_of, join_rows, ragged, split_rows
from ingrain.preprocess.tokenized import TokenizedText


def test_an_index_that_comes_again_counts_once_with_its_largest_value():
    values = np.array([[0.5, 0, 0.25, 0.75, 0], [0, 0, 0, 0, 0], [1, 2, 3, 2, 1]], np.float32)
    indices = np.array([[9, 4, 7, 9, 0], [1, 1, 1, 1, 1], [5, 5, 2, 2, 8]], np.int32)
    found = [row.tolist() for row in entries_of(values, indices)]
    assert found == [[[7, 0.25], [9, 0.75]], [], [[2, 3], [5, 2], [8, 1]]]


def test_ascending_entries_stay_as_they_are():
    values = np.array([[1, 2, 0], [3, 4, 5]], np.float32)
    indices = np.array([[1, 5, 0], [2, 3, 4]], np.int32)
    found = [row.tolist() for row in entries_of(values, indices)]
    assert found == [[[1, 1], [5, 2]], [[2, 3], [3, 4], [4, 5]]]


def test_rows_of_several_kinds_are_one_row_and_come_apart_again():
    dense = np.arange(6, dtype=np.float32).reshape(2, 3)
    entries = ragged([np.ones((2, 2), np.float32), np.empty((0, 2), np.float32)])
    vectors = ragged([np.full((1, 4), 7, np.float32), np.full((3, 4), 8, np.float32)])
    joined = join_rows([dense, entries, vectors])
    assert [len(row) for row in joined] == [3 + 3 + 4 + 4, 3 + 3 + 12]
    apart = split_rows(joined, [3, 2, 4])
    np.testing.assert_array_equal(np.concatenate(list(apart[0])), dense)
    for found, given in zip(apart[1:], (entries, vectors), strict=True):
        for ours, theirs in zip(found, given, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_parts_of_a_batch_keep_rows_of_their_own_kind():
    dense, entries = np.ones((2, 3), np.float32), ragged([np.ones((1, 2), np.float32)])
    rows = PartedRows([dense, entries])
    assert len(rows) == 3
    assert rows[0:2] is dense
    assert rows[2:3] is entries


def test_texts_of_a_request_are_the_same_with_and_without_roles():
    texts = [TokenizedText.of([1, 2, 3]), TokenizedText.of([4])]
    asked = Asked(texts, ("sparse_encoder",))
    assert texts_of(asked) is texts_of(texts) is texts
    assert (len(asked), asked_lengths(asked), list(asked)) == (2, [3, 1], texts)
