"""Pictures for tests: real photographs from installed packages, and awkward ones made here."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Iterator
from importlib.util import find_spec
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

LARGE = "4000x3000.jpg"
"""Name of the one picture that takes seconds rather than milliseconds to compare."""

_PHOTOGRAPHS = {"scikit-image": "skimage/data/", "scikit-learn": "sklearn/datasets/images/"}
_SUFFIXES = (".jpg", ".png", ".gif", ".tif")
_UNREADABLE = {"multipage_rgb.tif"}  # planes of a kind that Pillow does not know, so no source library reads it either
_ORIENTATION = 0x0112
_ROTATED = 6  # EXIF's word for a camera held upright


def photographs() -> dict[str, bytes]:
    """Return the picture files of the scikit-image and scikit-learn packages by name, as far as those are installed."""
    found = {}
    for package, folder in _PHOTOGRAPHS.items():
        try:
            files = importlib.metadata.files(package) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for file in files:
            wanted = file.as_posix().startswith(folder) and file.name.endswith(_SUFFIXES)
            if wanted and file.name not in _UNREADABLE:
                found[file.name] = file.locate().read_bytes()  # type: ignore[attr-defined]  # a Path here
    return dict(sorted(found.items()))


def scene(width: int, height: int, seed: int = 0) -> Image.Image:
    """Draw an RGB picture with edges, slopes and noise, so that no two rows or columns are alike."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = [np.sin(x / (7 + 3 * band) + y / (11 - 2 * band) + band) for band in range(3)]
    pixels = np.stack(waves, axis=-1) * 80 + 128 + generator.normal(0, 20, (height, width, 3))
    pixels[: height // 3, : width // 2] = (250, 10, 120)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8), "RGB")


def encode(image: Image.Image, name: str, **options: Any) -> bytes:
    """Return a picture as a file of the format that Pillow calls ``name``."""
    out = BytesIO()
    image.save(out, name, **options)
    return out.getvalue()


@functools.cache
def awkward_pictures() -> dict[str, bytes]:
    """Return small files of every shape, mode and format that preprocessing has gone wrong on somewhere."""
    return dict((*_shapes(), *_modes(), *_formats(), *_many_frames()))


def _shapes() -> Iterator[tuple[str, bytes]]:
    for width, height in ((1, 1), (2, 3), (31, 500), (512, 7), (1500, 90), (224, 224), (225, 224), (256, 341)):
        yield f"{width}x{height}.png", encode(scene(width, height), "PNG")
    yield LARGE, encode(scene(1000, 750).resize((4000, 3000)), "JPEG", quality=80)


def _modes() -> Iterator[tuple[str, bytes]]:
    rgb = scene(300, 190)
    alpha = scene(300, 190, seed=1).convert("L")
    rgba = rgb.copy()
    rgba.putalpha(alpha)
    yield "rgba.png", encode(rgba, "PNG")
    yield "rgba-small.png", encode(rgba.resize((90, 60)), "PNG")
    grey_alpha = Image.merge("LA", (rgb.convert("L"), alpha))
    yield "grey-alpha.png", encode(grey_alpha, "PNG")
    yield "grey.jpg", encode(rgb.convert("L"), "JPEG")
    yield "one-bit.png", encode(rgb.convert("1"), "PNG")
    palette = rgb.quantize(64)
    yield "palette.png", encode(palette, "PNG")
    yield "palette-small.png", encode(palette.resize((100, 61)), "PNG")
    yield "palette-transparent.png", encode(palette, "PNG", transparency=bytes(range(64)))
    yield "palette-one-clear.gif", encode(palette, "GIF", transparency=3)
    yield "palette.bmp", encode(palette, "BMP")
    yield "cmyk.jpg", encode(rgb.convert("CMYK"), "JPEG")
    yield "cmyk-small.tif", encode(rgb.convert("CMYK").resize((70, 40)), "TIFF")
    deep = np.asarray(rgb.convert("L")).astype(np.uint16) * 257
    yield "16-bit.png", encode(Image.fromarray(deep), "PNG")
    yield "16-bit-dark.tif", encode(Image.fromarray((deep // 300).astype(np.uint16)), "TIFF")
    yield "32-bit.tif", encode(Image.fromarray(deep.astype(np.int32)), "TIFF")
    yield "32-bit-signed.tif", encode(Image.fromarray(deep.astype(np.int32) - 20_000), "TIFF")
    big_endian = Image.frombytes("I;16B", rgb.size, deep.astype(">u2").tobytes())
    yield "16-bit-big-endian.tif", encode(big_endian, "TIFF")
    yield "lab.tif", encode(rgb.convert("LAB"), "TIFF")
    yield "ycbcr.tif", encode(rgb.convert("YCbCr"), "TIFF")
    yield "palette-alpha.tif", encode(palette.convert("PA"), "TIFF")
    yield "float.tif", encode(Image.fromarray(deep.astype(np.float32) / 257), "TIFF")


def _formats() -> Iterator[tuple[str, bytes]]:
    rgb = scene(301, 190, seed=2)
    exif = Image.Exif()
    exif[_ORIENTATION] = _ROTATED
    yield "rotated-by-exif.jpg", encode(rgb, "JPEG", exif=exif)
    yield "rotated-by-exif.tif", encode(rgb, "TIFF", tiffinfo={_ORIENTATION: _ROTATED})
    yield "rotated-by-exif.webp", encode(rgb, "WEBP", exif=exif)
    yield "progressive.jpg", encode(rgb, "JPEG", progressive=True, quality=90)
    yield "no-subsampling.jpg", encode(rgb, "JPEG", subsampling=0)
    yield "lossy.webp", encode(rgb, "WEBP", quality=70)
    rgba = rgb.copy()
    rgba.putalpha(scene(301, 190, seed=3).convert("L"))
    yield "lossless-alpha.webp", encode(rgba, "WEBP", lossless=True)
    yield "lossy.avif", encode(rgb, "AVIF", quality=70)
    yield "alpha.avif", encode(rgba, "AVIF", subsampling="4:4:4")
    yield "rotated.avif", encode(rgb, "AVIF", exif=exif)  # which becomes a property of the container
    if find_spec("pillow_heif") is not None:
        import pillow_heif

        pillow_heif.register_heif_opener()
        yield "lossy.heic", encode(rgb, "HEIF", quality=70)
        yield "alpha.heic", encode(rgba, "HEIF", quality=90)
        yield "rotated-by-exif.heic", encode(rgb, "HEIF", exif=exif)
    yield "plain.bmp", encode(rgb, "BMP")
    yield "lzw.tif", encode(rgb, "TIFF", compression="tiff_lzw")
    yield "jpeg-in.tif", encode(rgb, "TIFF", compression="jpeg")
    yield "fax.tif", encode(rgb.convert("1"), "TIFF", compression="group4")


def _many_frames() -> Iterator[tuple[str, bytes]]:
    frames = [scene(120, 81, seed=seed) for seed in range(4)]
    more = {"save_all": True, "append_images": frames[1:], "duration": 50}
    yield "animated.gif", encode(frames[0], "GIF", **more)
    yield "animated.webp", encode(frames[0], "WEBP", **more)
    yield "animated.avif", encode(frames[0], "AVIF", **more)
    yield "animated.png", encode(frames[0], "PNG", **more)
    yield "pages.tif", encode(frames[0], "TIFF", save_all=True, append_images=frames[1:])
