"""The PNG files that arrays become, read by Pillow."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ingrain.client.png import encode_png


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([None, 1, 2, 3, 4]), st.integers(0, 2**32))
def test_pillow_reads_the_very_pixels(height, width, channels, seed):
    shape = (height, width) if channels is None else (height, width, channels)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    with Image.open(BytesIO(encode_png(pixels))) as image:
        assert image.mode == {None: "L", 1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
        np.testing.assert_array_equal(np.asarray(image), pixels[..., 0] if channels == 1 else pixels)


def test_views_that_are_not_in_one_piece_are_encoded_as_they_look():
    pixels = np.arange(60 * 50 * 3, dtype=np.uint64).astype(np.uint8).reshape(60, 50, 3)[::-2, ::3, ::-1]
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(encode_png(pixels)))), pixels)


@pytest.mark.parametrize("shape", [(3,), (2, 2, 5), (2, 2, 2, 3), (0, 2, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="no picture"):
        encode_png(np.zeros(shape, np.uint8))
