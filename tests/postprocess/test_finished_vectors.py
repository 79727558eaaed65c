"""Vectors cut and brought to unit length."""

import numpy as np
import pytest

from ingrain.postprocess.vectors import finish


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(20, 384)).astype(np.float32)


def lengths(rows: np.ndarray) -> np.ndarray:
    return np.linalg.norm(rows.astype(np.float64), axis=1)


def test_every_vector_gets_unit_length(rows: np.ndarray) -> None:
    done = finish(rows, dimensions=None, normalize=True)
    assert done.dtype == np.float32
    assert np.abs(lengths(done) - 1).max() < 2e-7
    assert np.abs(done * lengths(rows)[:, None] - rows).max() < 1e-6


@pytest.mark.parametrize("factor", [1 - 1e-5, 1 - 2e-6, 1 + 2e-6, 1 + 1e-5])
def test_nearly_unit_vectors_get_unit_length(rows: np.ndarray, factor: float) -> None:
    nearly = (factor * rows / lengths(rows)[:, None]).astype(np.float32)
    assert np.abs(lengths(finish(nearly, dimensions=None, normalize=True)) - 1).max() < 6e-7


def test_unit_vectors_stay_as_they_are(rows: np.ndarray) -> None:
    unit = finish(rows, dimensions=None, normalize=True)
    assert finish(unit, dimensions=None, normalize=True) is unit


def test_one_vector_of_another_length_is_seen_among_unit_ones(rows: np.ndarray) -> None:
    mixed = finish(rows, dimensions=None, normalize=True).copy()
    mixed[7] *= 3
    assert np.abs(lengths(finish(mixed, dimensions=None, normalize=True)) - 1).max() < 6e-7


def test_cut_vectors_get_unit_length_after_the_cut(rows: np.ndarray) -> None:
    unit = finish(rows, dimensions=None, normalize=True)
    cut = finish(unit, dimensions=64, normalize=True)
    assert cut.shape == (20, 64)
    assert cut.flags.c_contiguous
    assert np.abs(lengths(cut) - 1).max() < 2e-7


def test_zeros_stay_zeros() -> None:
    assert not finish(np.zeros((2, 8), np.float32), dimensions=None, normalize=True).any()


def test_a_vector_is_the_same_alone_and_among_others(rows: np.ndarray) -> None:
    together = finish(rows, dimensions=None, normalize=True)
    alone = np.concatenate([finish(row[None], dimensions=None, normalize=True) for row in rows])
    assert np.array_equal(together, alone)
