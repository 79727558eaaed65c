"""Quantized vectors are sentence-transformers' own, to the last bit."""

import numpy as np
import pytest

from ingrain.postprocess.calibration import CalibrationRanges
from ingrain.postprocess.quantize import quantize
from ingrain.postprocess.vectors import finish
from tiny_models import prepare_libraries

KINDS = ("int8", "uint8", "binary", "ubinary")


@pytest.fixture(scope="module")
def vectors():
    """Vectors with zeros, a dimension that never changes, and more dimensions than fill whole bytes."""
    rows = np.random.default_rng(7).normal(size=(200, 37)).astype(np.float32)
    rows[:, 5] = 0.25
    rows[3, :9] = 0.0
    return rows


@pytest.fixture(scope="module")
def quantize_embeddings():
    prepare_libraries()
    from sentence_transformers.util import quantize_embeddings

    return quantize_embeddings


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dimensions", "normalize"), [(None, True), (None, False), (20, True)])
def test_vectors_are_those_of_quantize_embeddings(vectors, quantize_embeddings, kind, dimensions, normalize):
    """For every form: calibrated on one half of the vectors, some of the other half lie beyond the ranges."""
    sample, rows = vectors[:100], finish(vectors[100:], dimensions=dimensions, normalize=normalize)
    ranges = CalibrationRanges(sample).ranges(dimensions=dimensions, normalize=normalize)
    calibration = finish(sample, dimensions=dimensions, normalize=normalize)
    theirs = quantize_embeddings(rows, precision=kind, calibration_embeddings=calibration)
    ours = quantize(rows, kind, ranges)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(ours, quantize_embeddings(rows, precision=kind, ranges=ranges))
    if kind == "int8":
        assert (rows > ranges[1]).any()


def test_float_is_left_alone(vectors):
    assert quantize(vectors, "float", None) is vectors


def test_ranges_are_computed_once_for_each_form_and_few_are_kept(vectors):
    calibration = CalibrationRanges(vectors)
    first = calibration.ranges(dimensions=4, normalize=True)
    assert calibration.ranges(dimensions=4, normalize=True) is first
    for dimensions in range(5, 30):
        calibration.ranges(dimensions=dimensions, normalize=True)
    assert calibration.ranges(dimensions=4, normalize=True) is not first
