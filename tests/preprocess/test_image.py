"""Decoding: formats, frames, limits, and what a picture made in bad faith may cost."""

import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from images import LARGE, awkward_pictures, encode, scene
from ingrain.errors import ImageError, RequestError, TooLargeError
from ingrain.preprocess.image import ImagePreprocessor
from ingrain.preprocess.image_steps import effort_of, resized_size
from ingrain.repository.image_preprocess import CenterCrop, ImagePreprocess, Resize, ToRgb

UNIT = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
SHORTEST = ImagePreprocess((64, 64), (Resize((64, 64), "shortest", "bicubic"), CenterCrop((64, 64)), ToRgb()), **UNIT)
LONGEST = ImagePreprocess((64, 64), (Resize((64, 64), "longest", "bicubic"), CenterCrop((64, 64)), ToRgb()), **UNIT)
SQUASH = ImagePreprocess((64, 64), (Resize((64, 64), "squash", "bicubic"), ToRgb()), **UNIT)
CONFIGS = {"shortest": SHORTEST, "longest": LONGEST, "squash": SQUASH}
PICTURE = encode(scene(90, 61), "PNG")
AWKWARD = {name: data for name, data in awkward_pictures().items() if name != LARGE}


def png_of(width: int, height: int, *chunks: bytes) -> bytes:
    """Build the start of a PNG that claims a size, and the chunks given."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join((chunk(b"IHDR", header), *chunks))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def refusal(data: bytes, config: ImagePreprocess = SHORTEST) -> RequestError:
    with pytest.raises(RequestError) as caught:
        ImagePreprocessor(config).prepare(data, param="image[3]")
    assert caught.value.param == "image[3]"
    assert caught.value.message.startswith("image[3] ")
    return caught.value


def test_pixels_are_uint8_height_width_channels() -> None:
    config = ImagePreprocess((32, 48), (ToRgb(), Resize((32, 48), "squash", "bilinear")), **UNIT)
    pixels = ImagePreprocessor(config).prepare(PICTURE)
    assert (pixels.shape, pixels.dtype, pixels.flags.c_contiguous) == ((32, 48, 3), np.uint8, True)
    assert pixels.std() > 10


def test_every_frame_but_the_first_is_left_out() -> None:
    pictures = awkward_pictures()
    first = np.asarray(
        Image.open(__import__("io").BytesIO(pictures["animated.png"])).convert("RGB").resize((64, 64), 3)
    )
    assert np.array_equal(ImagePreprocessor(SQUASH).prepare(AWKWARD["animated.png"]), first)
    assert not np.array_equal(ImagePreprocessor(SQUASH).prepare(encode(scene(120, 81, seed=1), "PNG")), first)


def test_exif_orientation_is_left_alone_as_the_source_libraries_do() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    plain, tagged = encode(scene(90, 61), "JPEG"), encode(scene(90, 61), "JPEG", exif=exif)
    preprocessor = ImagePreprocessor(SQUASH)
    assert np.array_equal(preprocessor.prepare(plain), preprocessor.prepare(tagged))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="10" height="10"/></svg>',
        b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n",
        b"\xc5\xd0\xd3\xc6" + bytes(40),
        b"8BPS\x00\x01" + bytes(40),
        b"%PDF-1.7\n",
        b"P6\n1 1\n255\n\x00\x00\x00",
        b"\x00\x00\x01\x00\x01\x00" + bytes(40),
        b"\x00\x00\x00\x0cjP  \r\n\x87\n",
        b"\x76\x2f\x31\x01" + bytes(40),
        b"<html><body>Not found</body></html>",
        b"RIFF\x10\x00\x00\x00WAVEfmt " + bytes(40),
        b"PK\x03\x04" + bytes(40),
    ],
    ids=lambda data: repr(data[:12]),
)
def test_other_formats_are_refused_by_their_first_bytes(data: bytes) -> None:
    """SVG, EPS, PSD, PDF, PPM, ICO, JPEG 2000 and the rest never reach a decoder."""
    error = refusal(data)
    assert isinstance(error, ImageError)
    assert error.__cause__ is None, "a decoder was asked"


@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files_are_image_errors_or_whole_pictures(name: str, share: float) -> None:
    """A file cut in its later frames or its trailing metadata still has its first frame."""
    data = AWKWARD[name]
    try:
        pixels = ImagePreprocessor(SHORTEST).prepare(data[: int(len(data) * share)])
    except ImageError:
        return  # anything else fails the test
    assert pixels.shape == (64, 64, 3)


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_a_file_cut_in_half_says_so_without_the_decoders_words(name: str) -> None:
    data = encode(scene(90, 61), name)
    error = refusal(data[: len(data) // 2])
    assert error.message == f"image[3] is a damaged or incomplete {name} picture."


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_files_never_raise_anything_but_request_errors(data: st.DataObject) -> None:
    """Bytes turned at random, in every format."""
    name = data.draw(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"]))
    picture = bytearray(encode(scene(40, 27), name))
    for _ in range(data.draw(st.integers(1, 8))):
        picture[data.draw(st.integers(0, min(len(picture) - 1, 400)))] = data.draw(st.integers(0, 255))
    try:
        ImagePreprocessor(SHORTEST, max_pixels=1_000_000).prepare(bytes(picture))
    except RequestError:
        pass  # this or a picture is right; anything else fails the test


@pytest.mark.parametrize(
    ("config", "size"),
    [
        ("shortest", (1, 100_000)),
        ("shortest", (100_000, 1)),
        ("longest", (1, 100_000)),
        ("longest", (100_000, 1)),
        ("squash", (1, 2_000_000)),
    ],
)
def test_extreme_shapes_are_refused_before_they_are_decoded(config: str, size: tuple[int, int]) -> None:
    """Squashing 1 x 2,000,000 pixels makes room for 64 x 2,000,000 on the way, and ``shortest`` asks for far more.

    The files hold no pixels, so that only their headers can have been read.
    """
    width, height = size
    error = refusal(png_of(width, height, chunk(b"IDAT", b"")), CONFIGS[config])
    assert ("INGRAIN_MAX_IMAGE_PIXELS" if config != "longest" else "too narrow") in error.message


def test_a_picture_too_narrow_for_the_model_is_named_so() -> None:
    """Where the source library fails on a height of zero."""
    error = refusal(encode(scene(1000, 3), "PNG"), LONGEST)
    assert error.message == "image[3] is too narrow for this model: 1000 x 3 pixels."


HEADERS_ONLY = {
    "png": png_of(6000, 5000, chunk(b"IDAT", b"")),
    "png of two thousand million": png_of(2**31 - 1, 1, chunk(b"IDAT", b"")),
    "bmp": b"BM" + struct.pack("<IHHI", 54, 0, 0, 54)
    + struct.pack("<IiiHHIIiiII", 40, 6000, 5000, 1, 24, 0, 0, 0, 0, 0, 0),
    "gif": b"GIF89a" + struct.pack("<HHBBB", 6000, 5000, 0, 0, 0)
    + b"," + struct.pack("<HHHHB", 0, 0, 6000, 5000, 0) + b"\x02\x02\x4c\x01\x00;",
    "gif whose frame is larger than its screen": b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0)
    + b"," + struct.pack("<HHHHB", 0, 0, 6000, 5000, 0) + b"\x02\x02\x4c\x01\x00;",
    "webp, extended": b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\x00" * 4
    + (5999).to_bytes(3, "little") + (4999).to_bytes(3, "little"),
    "webp, lossless": b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8L" + struct.pack("<I", 10) + b"\x2f"
    + struct.pack("<I", 5999 | 4999 << 14) + bytes(8),
    "webp, lossy": b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8 " + struct.pack("<I", 10) + b"\x30\x01\x00\x9d\x01\x2a"
    + struct.pack("<HH", 6000, 5000) + bytes(8),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS_ONLY)
def test_a_header_of_too_many_pixels_is_enough_to_refuse(name: str) -> None:
    """These files have no pixels at all, so that only their headers can have been read."""
    error = refusal(HEADERS_ONLY[name])
    assert isinstance(error, TooLargeError)
    assert error.facts == {"limit": 25_000_000}
    assert "INGRAIN_MAX_IMAGE_PIXELS" in error.message


def test_the_pixel_limit_is_inclusive_and_may_be_set() -> None:
    data = encode(scene(100, 80), "PNG")
    assert ImagePreprocessor(SQUASH, max_pixels=8000).prepare(data).shape == (64, 64, 3)
    with pytest.raises(TooLargeError):
        ImagePreprocessor(SQUASH, max_pixels=7999).prepare(data)


def test_a_jpeg_of_a_thousand_scans_is_refused() -> None:
    """Each scan goes over all pixels again: a small file could keep a thread busy for minutes."""
    data = encode(scene(90, 61), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    assert refusal(data[:-2] + scan * 1000 + b"\xff\xd9").message == "image[3] is a JPEG of more than 100 scans."


def test_every_real_progressive_jpeg_has_few_enough_scans() -> None:
    assert ImagePreprocessor(SQUASH).prepare(encode(scene(900, 610), "JPEG", progressive=True)).shape == (64, 64, 3)


_COST = """
import sys, time
from pathlib import Path
from ingrain.errors import RequestError
from ingrain.preprocess.image import ImagePreprocessor
from ingrain.repository.image_preprocess import (CenterCrop, ImagePreprocess, Resize, ToRgb)
steps = (Resize((224, 224), "shortest", "bicubic"), CenterCrop((224, 224)), ToRgb())
preprocessor = ImagePreprocessor(ImagePreprocess((224, 224), steps, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
def peak_kb():
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line).split()[1])
data = Path(sys.argv[1]).read_bytes()
before, started = peak_kb(), time.process_time()
try:
    preprocessor.prepare(data)
    outcome = "read"
except RequestError as error:
    outcome = error.code
print(outcome, time.process_time() - started, (peak_kb() - before) // 1024)
"""


def _bomb(kind: str) -> tuple[bytes, str]:
    match kind:
        case "30 megapixels":
            return encode(Image.new("RGB", (6000, 5000)), "PNG"), "too_large"
        case "just under the limit, with alpha":
            return encode(Image.new("RGBA", (5000, 5000), (1, 2, 3, 4)), "PNG"), "read"
        case "a thousand frames":
            frames = [Image.new("P", (500, 400), shade) for shade in range(100)] * 10
            return encode(frames[0], "GIF", save_all=True, append_images=frames[1:], optimize=False), "read"
        case "packed text":
            packed = zlib.compress(bytes(300_000_000), 9)
            return png_of(10, 10, chunk(b"zTXt", b"a\x00\x00" + packed), chunk(b"IDAT", b"")), "invalid_image"
        case "packed colour profile":
            packed = zlib.compress(bytes(300_000_000), 9)
            return png_of(10, 10, chunk(b"iCCP", b"a\x00\x00" + packed), chunk(b"IDAT", b"")), "invalid_image"
        case "packed rows that go on":
            rows = zlib.compress(bytes(300_000_000), 9)
            return png_of(10, 10, chunk(b"IDAT", rows), chunk(b"IEND", b"")), "read"
    raise AssertionError(kind)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        "30 megapixels",
        "just under the limit, with alpha",
        "a thousand frames",
        "packed text",
        "packed colour profile",
        "packed rows that go on",
    ],
)
def test_a_bomb_costs_under_200_mb_and_2_seconds(kind: str, tmp_path) -> None:
    """Measured in a process of its own: peak of resident memory over what it was before, and CPU time."""
    data, expected = _bomb(kind)
    assert len(data) < 2_000_000
    (tmp_path / "bomb").write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", _COST, str(tmp_path / "bomb")], capture_output=True, text=True, check=True
    )
    outcome, cpu_s, peak_mb = done.stdout.split()
    assert outcome == expected
    assert float(cpu_s) < 2
    assert int(peak_mb) < 200


def test_threads_share_a_preprocessor() -> None:
    """The same pictures on eight threads as on one."""
    pictures = list(AWKWARD.values())
    preprocessor = ImagePreprocessor(SHORTEST)
    alone = [preprocessor.prepare(data) for data in pictures]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(preprocessor.prepare, pictures * 4))
    assert all(np.array_equal(a, b) for a, b in zip(alone * 4, together, strict=True))


@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from(["shortest", "longest", "squash"]))
def test_a_resized_picture_keeps_its_shape_within_a_pixel(width: int, height: int, mode: str) -> None:
    new_width, new_height = resized_size(Resize((224, 224), mode, "bicubic"), width, height)  # type: ignore[arg-type]
    if mode == "squash":
        assert (new_width, new_height) == (224, 224)
        return
    assert (min if mode == "shortest" else max)(new_width, new_height) == 224
    scale = 224 / (min if mode == "shortest" else max)(width, height)
    assert abs(new_width - width * scale) <= 1
    assert abs(new_height - height * scale) <= 1


def test_effort_counts_the_rows_that_pillow_keeps_between_its_two_passes() -> None:
    effort = effort_of(SQUASH.steps, 10, 1000)
    assert effort.largest == 64 * 1000
    assert effort.total == 10 * 1000 + 64 * 1000 + 64 * 64
