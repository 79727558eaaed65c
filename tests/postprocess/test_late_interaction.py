"""Vectors of tokens in each form, and scores of late interaction."""

import numpy as np
import pytest

from ingrain.errors import InvalidRequestError
from ingrain.postprocess import token_vectors
from ingrain.postprocess.token_vectors import finish_tokens, late_interaction


def vectors(count, width=6, seed=0):
    return np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)


def by_hand(query, document):
    return sum(max(float(one @ other) for other in document) for one in query)


@pytest.mark.parametrize("most", [1, 40, 4_000_000])
def test_a_score_is_the_sum_of_the_best_products_whatever_is_computed_together(monkeypatch, most):
    monkeypatch.setattr(token_vectors, "_MOST_PRODUCTS", most)
    query, documents = vectors(4), [vectors(count, seed=count) for count in (3, 1, 9, 2)]
    scores = late_interaction(query, documents, "maxsim")
    np.testing.assert_allclose(scores, [by_hand(query, document) for document in documents], rtol=1e-5)
    np.testing.assert_allclose(late_interaction(query, documents, "meanmaxsim"), scores / 4, rtol=1e-6)


def test_a_document_without_vectors_comes_last():
    documents = [-vectors(3), vectors(0), vectors(2)]
    assert late_interaction(vectors(4), documents, "maxsim").argmin() == 1


def test_vectors_are_cut_then_normalized_then_converted():
    rows = vectors(20)
    cut = rows[:, :3] / np.linalg.norm(rows[:, :3], axis=1, keepdims=True)
    np.testing.assert_allclose(finish_tokens(rows, dimensions=3, normalize=True, dtype="float"), cut, atol=1e-6)
    whole = finish_tokens(rows, dimensions=3, normalize=True, dtype="int8")
    assert np.abs(whole / 127 - cut).max() <= 0.5 / 127 + 1e-6
    np.testing.assert_array_equal(finish_tokens(rows, dimensions=None, normalize=False, dtype="float"), rows)
    zero = np.zeros((1, 6), np.float32)
    np.testing.assert_array_equal(finish_tokens(zero, dimensions=None, normalize=True, dtype="float"), zero)


def test_int8_vectors_keep_their_directions():
    """Of 128 dimensions, as late interaction has, the cosine with the float vector stays above 0.999."""
    rows = finish_tokens(vectors(200, 128), dimensions=None, normalize=True, dtype="float")
    whole = finish_tokens(rows, dimensions=None, normalize=True, dtype="int8").astype(np.float32)
    assert ((rows * whole).sum(axis=1) / np.linalg.norm(whole, axis=1)).min() > 0.999


def test_numbers_that_float16_cannot_hold_are_refused():
    """They would be infinite in the answer."""
    rows = np.array([[1e5, 1.0]], np.float32)
    with pytest.raises(InvalidRequestError, match="65504"):
        finish_tokens(rows, dimensions=None, normalize=False, dtype="float16")
    assert finish_tokens(rows, dimensions=None, normalize=True, dtype="float16").dtype == np.float16
