"""What a file is taken for, and what its header must not be believed about."""

import re
import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from images import encode, scene
from ingrain.errors import ImageError, RequestError, TooLargeError
from ingrain.preprocess.image import ImagePreprocessor
from ingrain.preprocess.image_formats import check_format
from ingrain.repository.image_preprocess import ImagePreprocess, Resize, ToRgb

SQUASH = ImagePreprocess((64, 64), (ToRgb(), Resize((64, 64), "squash", "bicubic")), (0.0,) * 3, (1.0,) * 3)
JPEG = encode(scene(90, 61), "JPEG")
PROGRESSIVE = encode(scene(90, 61), "JPEG", progressive=True)
SCAN = PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda") : -2]
END = b"\xff\xd9"
MANY_SCAN_MARKERS = b"\x00\xff\xda\x00\x08" * 400
VIDEO = b"\x00\x00\x00\x18ftypmp42" + MANY_SCAN_MARKERS


def prepare(data: bytes, max_pixels: int = 25_000_000) -> np.ndarray:
    return ImagePreprocessor(SQUASH, max_pixels=max_pixels).prepare(data, param="image[3]")


def refusal(data: bytes, max_pixels: int = 25_000_000) -> RequestError:
    with pytest.raises(RequestError) as caught:
        prepare(data, max_pixels)
    return caught.value


def as_opened(data: bytes) -> np.ndarray:
    """Return what Pillow makes of a file by itself, resized."""
    with Image.open(BytesIO(data)) as image:
        return np.asarray(image.convert("RGB").resize((64, 64), Image.Resampling.BICUBIC))


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2) + content


def test_a_jpeg_with_a_video_behind_it_is_read() -> None:
    """As phones write them; the video holds the bytes that begin a scan hundreds of times."""
    assert np.array_equal(prepare(JPEG + VIDEO), prepare(JPEG))
    assert np.array_equal(prepare(PROGRESSIVE + VIDEO), prepare(PROGRESSIVE))


def test_a_jpeg_with_further_pictures_behind_it_is_its_first() -> None:
    """Multi-picture files of cameras (MPO), with as many pictures as an album."""
    more = [scene(90, 61, seed=seed) for seed in range(1, 120)]
    data = encode(scene(90, 61), "MPO", save_all=True, append_images=more)
    assert data.count(b"\xff\xda") > 100
    assert np.array_equal(prepare(data), as_opened(data))


def test_what_looks_like_scans_within_a_segment_counts_for_nothing() -> None:
    """A thumbnail or a colour profile may hold any bytes, the end of a picture among them."""
    data = JPEG[:2] + segment(0xE1, END + MANY_SCAN_MARKERS) + JPEG[2:]
    assert np.array_equal(prepare(data), prepare(JPEG))


@pytest.mark.parametrize(
    "bomb",
    [
        PROGRESSIVE[:-2] + SCAN * 200 + END,
        PROGRESSIVE[:2] + segment(0xE1, b"x" + END * 9) + PROGRESSIVE[2:-2] + SCAN * 200 + END,
        PROGRESSIVE[:-2] + (b"\xff\xff" + SCAN) * 200 + END,
        PROGRESSIVE[:-2] + (b"\xff\xd0garbage\xff\x00" + SCAN) * 200 + END,
        PROGRESSIVE[:-2] + SCAN * 200,
    ],
    ids=["plain", "an end within a segment", "fill bytes", "between restarts and garbage", "without an end"],
)
def test_a_jpeg_of_many_scans_is_refused_however_they_are_hidden(bomb: bytes) -> None:
    """The library behind Pillow reads every one of them: with ten thousand, a picture takes minutes."""
    assert refusal(bomb).message == "image[3] is a JPEG of more than 100 scans."


@pytest.mark.parametrize("options", [{}, {"subsampling": "4:4:4", "quality": 100}, {"range": "limited"}])
def test_an_avif_is_what_pillow_opens(options: dict[str, object]) -> None:
    data = encode(scene(301, 190), "AVIF", **options)
    assert np.array_equal(prepare(data), as_opened(data))


def test_an_avif_s_own_rotation_is_left_to_whoever_wants_it_as_pillow_does() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(scene(301, 190), "AVIF", exif=exif)
    assert b"irot" in data
    assert np.array_equal(prepare(data), as_opened(data))
    assert np.array_equal(prepare(data), prepare(encode(scene(301, 190), "AVIF")))


def test_the_first_frame_of_an_animated_avif_is_taken() -> None:
    frames = [scene(120, 81, seed=seed) for seed in range(4)]
    data = encode(frames[0], "AVIF", save_all=True, append_images=frames[1:])
    assert data[8:12] == b"avis"
    assert np.array_equal(prepare(data), as_opened(data))


def test_an_avif_over_the_limit_is_refused_by_its_coded_size() -> None:
    """Its container calls it 64 x 64, which Pillow believes, and decodes 600 x 400 for it."""
    data = bytearray(encode(scene(600, 400), "AVIF"))
    place = data.index(b"ispe") + 8
    data[place : place + 8] = (64).to_bytes(4) + (64).to_bytes(4)
    error = refusal(bytes(data), max_pixels=100_000)
    assert isinstance(error, TooLargeError)
    assert "600 x 400" in error.message
    assert error.__cause__ is None, "a decoder was asked"


def test_an_animation_s_frames_are_refused_by_their_coded_size() -> None:
    frames = [scene(600, 400, seed=seed) for seed in range(2)]
    error = refusal(encode(frames[0], "AVIF", save_all=True, append_images=frames[1:]), max_pixels=100_000)
    assert isinstance(error, TooLargeError)


def test_an_avif_of_many_frames_in_one_is_refused() -> None:
    """Frames that are never shown are decoded all the same."""
    data = encode(scene(64, 64), "AVIF")
    start = data.index(b"mdat") + 4
    item = data[start:]
    frame = item[item.index(b"\x32") :]  # an OBU of the type "frame", with a size
    longer = item + frame * 200
    moved = data.replace(start.to_bytes(4) + len(item).to_bytes(4), len(data).to_bytes(4) + len(longer).to_bytes(4))
    assert moved != data
    error = refusal(moved + longer, max_pixels=64 * 64)
    assert "coded frames" in error.message
    assert check_format(data, max_pixels=64 * 64, param="image") == "AVIF"


def test_an_avif_whose_items_cannot_be_found_is_damaged() -> None:
    for data in (encode(scene(64, 64), "AVIF")[:200], b"\x00\x00\x00\x1cftypavif" + bytes(40)):
        assert refusal(data).message == "image[3] is a damaged or incomplete AVIF picture."


def heic(**options: object) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    return encode(scene(640, 384), "HEIF", **options)


def test_a_heic_is_what_pillow_opens_with_the_library_that_reads_it() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for data in (heic(quality=70), heic(exif=exif)):
        assert np.array_equal(prepare(data), as_opened(data))


def test_a_heic_over_the_limit_is_refused_before_it_is_decoded() -> None:
    data = heic(quality=70)
    assert isinstance(refusal(data, max_pixels=100_000), TooLargeError)
    # libheif holds the coded picture against what the container says of it.
    lying = re.sub(rb"(ispe....).{8}", rb"\g<1>" + 2 * (64).to_bytes(4), data, flags=re.DOTALL)
    assert "damaged" in refusal(lying, max_pixels=100_000).message


def test_a_heic_is_refused_by_name_where_nothing_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert "is a HEIC picture" in refusal(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic").message
    assert ".[heic]" in refusal(b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1heic").message
    assert "and AVIF." in refusal(b"%PDF-1.7\n").message


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"", "is empty."),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "is an SVG drawing; "),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- made by hand --><svg width="1"/>', "is an SVG drawing; "),
        (b"<?xml version='1.0'?><rss/>", "is an XML document; "),
        (b"\n<!DOCTYPE html><html><body>Not found</body></html>", "is an HTML page; "),
        (b'{"error": "no such picture"}', "is a JSON document; "),
        (b"%PDF-1.7\n", "is a PDF document; "),
        (b"8BPS\x00\x01" + bytes(40), "is a Photoshop (PSD) picture; "),
        (b"\x00\x00\x01\x00\x01\x00" + bytes(40), "is an icon (ICO); "),
        (b"\x00\x00\x02\x00\x01\x00" + bytes(40), "is a cursor (CUR); "),
        (encode(scene(9, 6), "TGA"), "has an unknown format; "),
        (b"\xff\x0a" + bytes(40), "is a JPEG XL picture; "),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "is a JPEG 2000 picture; "),
        (b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp42", "is an MP4 video; "),
        (b"\x00\x00\x00\x14ftypqt  " + bytes(8), "is a QuickTime (MOV) video; "),
        (b"RIFF\x10\x00\x00\x00AVI LIST" + bytes(40), "is an AVI video; "),
        (b"\x1aE\xdf\xa3" + bytes(40), "is a WebM or Matroska video; "),
        (b"PK\x03\x04" + bytes(40), "is a ZIP archive or an Office document; "),
        (b"data:image/png;base64,iVBORw0KGgo=", "is a data URI that was base64-encoded again; "),
        (b"hello", "has an unknown format; "),
        (bytes(200), "has an unknown format; "),
    ],
    ids=lambda value: repr(value[:14]) if isinstance(value, bytes) else "",
)
def test_a_refusal_names_the_format_that_was_seen(data: bytes, name: str) -> None:
    error = refusal(data)
    assert isinstance(error, ImageError)
    assert error.message.startswith(f"image[3] {name}")
    assert not data or "JPEG, PNG, WebP" in error.message
