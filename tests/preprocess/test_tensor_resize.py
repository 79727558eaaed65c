"""Torch's resize without torch."""

import numpy as np
import pytest
from PIL import Image

from images import encode, scene
from ingrain.client.shrink import shrink
from ingrain.errors import TooLargeError
from ingrain.preprocess.image import ImagePreprocessor
from ingrain.preprocess.image_steps import apply_steps
from ingrain.preprocess.tensor_resize import resize_pixels
from ingrain.repository.image_preprocess import CenterCrop, ImagePreprocess, OnWhite, Resize, ResizeTensor, ToRgb

_SHAPES = [
    (90, 137, 48, 73),
    (48, 31, 200, 224),
    (1, 3000, 224, 224),
    (2900, 2, 17, 9),
    (224, 500, 224, 1),
    (7, 7, 7, 7),
]


@pytest.mark.slow
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
def test_pixels_are_torchs_to_the_bit(interpolation) -> None:
    """Up, down, both ways, along long rows, of noise and of nothing but black and white."""
    from ingrain.export.process.torchvision_shim import install

    install()
    import torch
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as torchvision

    generator = np.random.default_rng(14)
    for height, width, to_height, to_width in _SHAPES:
        noise = generator.integers(0, 256, (height, width, 3)).astype(np.uint8)
        for pixels in (noise, np.where(noise > 127, 255, 0).astype(np.uint8)):
            tensor = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
            mode = InterpolationMode(interpolation)
            theirs = torchvision.resize(tensor, [to_height, to_width], interpolation=mode, antialias=True)
            ours = resize_pixels(pixels, to_width, to_height, interpolation)
            np.testing.assert_array_equal(ours, theirs.permute(1, 2, 0).numpy())


def test_it_is_pillows_resize_but_for_few_pixels_by_one() -> None:
    picture = scene(640, 427)
    steps = (ResizeTensor((224, 224), "shortest", "bicubic"), Resize((224, 224), "shortest", "bicubic"))
    ours, pillows = (np.asarray(apply_steps((step,), picture)).astype(int) for step in steps)
    assert ours.shape == pillows.shape == (224, 335, 3)
    assert np.abs(ours - pillows).max() == 1
    assert 0 < (ours != pillows).mean() < 0.02


def test_transparent_pictures_are_laid_on_white() -> None:
    """Palettes with a transparent colour too; what is opaque stays as it is."""
    picture = scene(20, 10)
    clear = picture.copy()
    clear.putalpha(0)
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([9, 9, 9, 200, 0, 0])
    hidden = palette.copy()
    hidden.info["transparency"] = 1
    red, white = (200, 0, 0), (255, 255, 255)
    for given, expected in ((clear, white), (hidden, white), (palette, red)):
        assert apply_steps((OnWhite(), ToRgb()), given).getpixel((0, 0)) == expected
    assert apply_steps((OnWhite(), ToRgb()), picture) is picture


def test_an_odd_pixel_is_cut_off_behind_where_transformers_does_the_cutting() -> None:
    row = Image.fromarray(np.arange(7, dtype=np.uint8)[None, :, None].repeat(3, axis=2))
    cut = [np.asarray(apply_steps((CenterCrop((1, 4), odd=odd),), row))[0, 0, 0] for odd in ("even", "behind")]
    assert cut == [2, 1]


def test_a_client_shrinks_pictures_by_it_too() -> None:
    steps = (OnWhite(), ToRgb(), ResizeTensor((64, 64), "shortest", "bicubic"), CenterCrop((64, 64), odd="behind"))
    preprocessor = ImagePreprocessor(ImagePreprocess((64, 64), steps, (0.5,) * 3, (0.5,) * 3))
    picture = scene(640, 427).convert("RGBA")
    picture.putalpha(90)
    whole = encode(picture, "PNG")
    small = shrink(whole, steps)
    assert len(small) < len(whole) / 10
    np.testing.assert_array_equal(preprocessor.prepare(small), preprocessor.prepare(whole))


def test_a_row_too_long_for_its_weights_is_refused_before_it_is_decoded() -> None:
    """Weights grow with the longer side: of 400,000 pixels in one row they would take more memory than the picture."""
    config = ImagePreprocess((8, 8), (ToRgb(), ResizeTensor((8, 8), "squash", "bicubic")), (0.5,) * 3, (0.5,) * 3)
    preprocessor = ImagePreprocessor(config)
    assert preprocessor.prepare(encode(scene(5000, 2), "PNG")).shape == (8, 8, 3)
    with pytest.raises(TooLargeError, match="while it is resized"):
        preprocessor.prepare(encode(Image.new("RGB", (400_000, 1)), "PNG"))
