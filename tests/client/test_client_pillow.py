"""A Pillow image that goes through the client gives the pixels that OpenCLIP and timm make of it, or is refused."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from image_parity import cases, difference
from images import encode, scene
from ingrain.client.pillow import encode_pillow
from ingrain.errors import ImageError

CASES = (
    "open_clip shortest bicubic 224",
    "open_clip longest bilinear 256",
    "open_clip squash bicubic (224, 320)",
    "timm center 0.875 bicubic 224x224",
    "timm squash 0.9 bilinear 256x192",
)
NO_FILE_HOLDS = {"HSV", "RGBa", "La", "I;16L", "I;16N"}


def images() -> dict[str, Image.Image]:
    """Return an image of every mode, and of what else an image may carry that its pixels depend on."""
    rgb = scene(90, 61)
    grey, alpha = rgb.convert("L"), scene(90, 61, seed=1).convert("L")
    rgba, palette = rgb.copy(), rgb.quantize(40)
    rgba.putalpha(alpha)
    deep = np.asarray(grey).astype(np.int32) * 257
    found = {mode: rgb.convert(mode) for mode in ("1", "L", "RGB", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")}
    found |= {mode: rgba.convert(mode) for mode in ("RGBA", "LA", "RGBa")} | {"La": rgba.convert("LA").convert("La")}
    found |= {"P": palette, "PA": palette.convert("PA"), "I": Image.fromarray(deep - 20_000)}
    found |= {
        "F": Image.fromarray(deep.astype(np.float32) / 300 - 9.5),
        "F far": Image.fromarray(deep.astype(np.float32)),
    }
    for mode in ("I;16", "I;16B", "I;16L", "I;16N"):
        order = ">u2" if mode == "I;16B" else "<u2"
        found[mode] = Image.frombytes(mode, (90, 61), (deep // 3).astype(order).tobytes())
    short = Image.fromarray((np.asarray(grey) // 8).astype(np.uint8), "P")
    short.putpalette([10, 20, 30, 200, 100, 50])
    with_alpha = palette.copy()
    with_alpha.putpalette(bytes(range(256)) * 4, "RGBA")
    clear, marked = palette.copy(), rgb.copy()
    clear.info["transparency"], marked.info["transparency"] = bytes(range(40)), (250, 10, 120)
    marked.info["icc_profile"] = b"no profile"
    found |= {"P, pixels outside the palette": short, "P, alpha in the palette": with_alpha}
    found |= {"P, transparent": clear, "RGB, transparent, damaged profile": marked}
    frames = [scene(90, 61, seed=seed).quantize(30) for seed in range(3)]
    animated = Image.open(BytesIO(encode(frames[0], "GIF", save_all=True, append_images=frames[1:])))
    animated.seek(2)
    found |= {
        "a frame of an animation": animated,
        "a JPEG that is not read yet": Image.open(BytesIO(encode(rgb, "JPEG"))),
    }
    return found


IMAGES = images()


@pytest.fixture(scope="module")
def chosen():
    known = {case.name: case for case in cases()}
    return [known[name] for name in CASES]


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_of_any_mode_gives_the_librarys_pixels_to_the_bit_or_is_refused(name, chosen):
    image = IMAGES[name]
    if name in NO_FILE_HOLDS:
        with pytest.raises(ValueError, match="convert"):
            encode_pillow(image)
        return
    try:
        file = encode_pillow(image)
    except ValueError:
        assert name == "P, pixels outside the palette"
        return
    for case in chosen:
        try:
            expected = case.transform(image)
        except Exception:
            with pytest.raises(ImageError):  # both refuse
                difference(case, file)
            continue
        assert difference(case, file, expected) == 0, case.name


def test_every_mode_that_pillow_makes_is_looked_at():
    from PIL import ImageMode

    seen = {image.mode for image in IMAGES.values()}
    assert {"1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "PA", "RGBX", "RGBa"} <= seen
    assert all(ImageMode.getmode(mode) for mode in seen)
