"""Tokens with a vector: expansion of queries, tokens that are dropped, and the cutting of a batch's vectors."""

import numpy as np
import pytest

from ingrain.preprocess.token_vectors import apply_rules, cut_to_texts, keep_all, token_counts, vector_counts
from ingrain.preprocess.tokenized import TokenizedText, collate
from ingrain.repository.manifest import TextPreprocess
from ingrain.repository.token_rules import TokenRules

CONFIG = TextPreprocess(max_tokens=16)
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
MASK = 9


def expanded(ids, attends=False):
    rules = TokenRules(expand_to=6, expansion_id=MASK, attends_to_expansion=attends)
    return apply_rules(TokenizedText.of(ids), rules)


@pytest.mark.parametrize("attends", [False, True])
def test_a_short_query_is_filled_up_and_only_the_attention_may_leave_that_out(attends):
    query, document = expanded([2, 5, 3], attends), TokenizedText.of([2, 5, 6, 7, 8, 5, 5, 3])
    arrays = collate([query, document], CONFIG, INPUTS)
    assert arrays["input_ids"][0].tolist() == [2, 5, 3, MASK, MASK, MASK, 0, 0]
    assert arrays["attention_mask"][0].tolist() == [1, 1, 1, *[int(attends)] * 3, 0, 0]
    assert arrays["attention_mask"][1].tolist() == [1] * 8
    assert (vector_counts([query]), token_counts([query])) == ([6], [3])


def test_a_long_query_stays_as_it_is():
    query = expanded(range(2, 10))
    assert (len(query), vector_counts([query]), token_counts([query])) == (8, [8], [8])


def test_dropped_tokens_have_no_vector_and_kept_ones_alone_have():
    item = TokenizedText.of([2, 5, 6, 5, 3])
    assert vector_counts([apply_rules(item, TokenRules(dropped_ids=(5,)))]) == [3]
    assert vector_counts([apply_rules(item, TokenRules(dropped_ids=(5,), kept_ids=(5, 6)))]) == [1]
    assert vector_counts([apply_rules(item, TokenRules(dropped_ids=(2, 3, 5, 6)))]) == [0]


@pytest.mark.parametrize("side", ["right", "left"])
def test_each_text_gets_the_vectors_of_its_own_tokens(side):
    items = [TokenizedText.of([2, 5, 3]), apply_rules(TokenizedText.of([2, 5, 6, 3]), TokenRules(dropped_ids=(5,)))]
    arrays = collate(items, TextPreprocess(max_tokens=16, padding_side=side), ("input_ids",), length=6)
    vectors = np.repeat(arrays["input_ids"][:, :, None], 2, axis=2).astype(np.float32)
    first, second, again = cut_to_texts(vectors, [*items, items[0]], side, [0, 1, 0])
    assert (first[:, 0].tolist(), second[:, 0].tolist()) == ([2, 5, 3], [2, 6, 3])
    np.testing.assert_array_equal(first, again)
    assert first.base is None  # a view would hold the vectors of the whole batch
    assert second.base is None


def test_all_tokens_of_a_text_are_kept_but_those_that_were_added():
    query = keep_all(expanded([2, 5, 3]))
    assert (vector_counts([query]), token_counts([query])) == ([3], [3])
    document = keep_all(apply_rules(TokenizedText.of([2, 5, 3]), TokenRules(dropped_ids=(5,))))
    assert vector_counts([document]) == [3]
