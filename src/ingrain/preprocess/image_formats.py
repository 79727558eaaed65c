"""Detects an image's format by its first bytes, and refuses files that would be too expensive to open."""

from __future__ import annotations

import importlib.util
import re

from ingrain.errors import ImageError, TooLargeError
from ingrain.install_hint import install_hint
from ingrain.preprocess.avif import check_coded_sizes
from ingrain.preprocess.unsupported_formats import HEIF_BRANDS, brands_of, describe_format

NAMES = ("JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "AVIF", "HEIC")

_MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "TIFF",  # BigTIFF
    b"MM\x00+": "TIFF",
}
# A progressive JPEG may have any number of scans, and the decoder decodes each one; real files have about ten.
_MAX_JPEG_SCANS = 100
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
# In coded data FF is followed by 00 or by a restart marker, which has no length.
_JPEG_MARKER = re.compile(rb"\xff+([^\x00\x01\xff\xd0-\xd7])")


def check_format(data: bytes, *, max_pixels: int, param: str) -> str:
    """Return Pillow's name of an image's format, after checks that must come before Pillow opens the file.

    Args:
        data: The whole file.
        max_pixels: Limit of pixels of an image.
        param: Path of the field that contains the image, for errors.

    Raises:
        ImageError: The format is not in :data:`NAMES`, or a JPEG has too many scans.
        TooLargeError: A WebP or AVIF has too many pixels; opening the file would already allocate them.
    """
    name = _format_of(data)
    if name is None or (name == "HEIF" and not heic_is_read()):
        raise ImageError(f"{param} {_refusal(data)}", param=param)
    if name == "JPEG" and _has_too_many_scans(data):
        raise ImageError(f"{param} is a JPEG of more than {_MAX_JPEG_SCANS} scans.", param=param)
    if name == "WEBP":
        width, height = _webp_canvas(data)
        check_pixels(width, height, max_pixels=max_pixels, param=param)
    if name == "AVIF":
        check_coded_sizes(data, max_pixels=max_pixels, param=param)
    return name


def check_pixels(width: int, height: int, *, max_pixels: int, param: str) -> None:
    """Refuse an image with too many pixels.

    Raises:
        TooLargeError: ``width * height`` is above ``max_pixels``.
    """
    if width * height > max_pixels:
        raise TooLargeError(
            f"{param} has {width} x {height} pixels; the limit is {max_pixels} pixels (INGRAIN_MAX_IMAGE_PIXELS).",
            param=param,
            facts={"limit": max_pixels},
        )


def heic_is_read() -> bool:
    """Return whether this installation reads HEIC (``ingrain[heic]``), without importing the decoder."""
    return importlib.util.find_spec("pillow_heif") is not None


def _format_of(data: bytes) -> str | None:
    for magic, name in _MAGIC.items():
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return _format_by_brands(data)


def _format_by_brands(data: bytes) -> str | None:
    brands = brands_of(data)
    own = brands & ({b"avif", b"avis"} | HEIF_BRANDS)
    if not own or data[8:12] not in own | {b"mif1", b"msf1"}:
        return None
    # A file may have brands of both formats. The major brand decides, unless it is the generic mif1 or msf1.
    first = data[8:12] if data[8:12] in own else max(own, key=lambda brand: brand in (b"avif", b"avis"))
    return "AVIF" if first in (b"avif", b"avis") else "HEIF"


def _refusal(data: bytes) -> str:
    if not data:
        return "is empty."
    if _format_of(data) == "HEIF":
        return f"is a HEIC picture, which this server cannot read. To enable it: {install_hint('heic')}."
    read = NAMES if heic_is_read() else NAMES[:-1]
    supported = f"supported formats are {', '.join(read[:-1])} and {read[-1]}"
    seen = describe_format(data)
    return f"is {seen}; {supported}." if seen else f"has an unknown format; {supported}."


def _has_too_many_scans(data: bytes) -> bool:
    """Return whether a JPEG has too many scans (ITU T.81, B.1).

    Skips segments by their length, so that scans of an embedded thumbnail do not count. Stops at the end of the image;
    phones store videos and further images after it.
    """
    if data.count(b"\xff\xda") <= _MAX_JPEG_SCANS:
        return False  # fast path for nearly all files, a hundred times as fast
    scans, place = 0, 2
    while (found := _JPEG_MARKER.search(data, place)) is not None and scans <= _MAX_JPEG_SCANS:
        marker, place = found[1][0], found.end()
        if marker == _END_OF_IMAGE:
            break
        scans += marker == _START_OF_SCAN
        place += int.from_bytes(data[place : place + 2])
    return scans > _MAX_JPEG_SCANS


def _webp_canvas(data: bytes) -> tuple[int, int]:
    """Read width and height from a WebP header (RFC 9649), because opening the file already allocates a canvas."""
    match data[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 ":
            return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    return 0, 0
