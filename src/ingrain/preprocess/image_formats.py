"""Tell a picture's format by its first bytes, and refuse what would cost too much to open."""

from __future__ import annotations

from ingrain.errors import ImageError, TooLargeError

NAMES = ("JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF")

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
# A progressive JPEG may have its picture gone over any number of times; real ones have about ten scans.
_MAX_JPEG_SCANS = 100


def check_format(data: bytes, *, max_pixels: int, param: str) -> str:
    """Return Pillow's name of a picture's format.

    Args:
        data: The whole file.
        max_pixels: Most pixels that a picture may have.
        param: Path of the field that it came from, for errors.

    Raises:
        ImageError: It is none of :data:`NAMES`, or a JPEG made to keep a decoder busy.
        TooLargeError: Already its header tells of too many pixels, where opening it would make room for them.
    """
    name = _format_of(data)
    if name is None:
        what = "is empty" if not data else f"is not a {', '.join(NAMES[:-1])} or {NAMES[-1]} picture"
        raise ImageError(f"{param} {what}.", param=param)
    if name == "JPEG" and data.count(b"\xff\xda") > _MAX_JPEG_SCANS:
        raise ImageError(f"{param} is a JPEG of more than {_MAX_JPEG_SCANS} scans.", param=param)
    if name == "WEBP":
        width, height = _webp_canvas(data)
        check_pixels(width, height, max_pixels=max_pixels, param=param)
    return name


def check_pixels(width: int, height: int, *, max_pixels: int, param: str) -> None:
    """Refuse a picture of too many pixels.

    Raises:
        TooLargeError: ``width * height`` is above ``max_pixels``.
    """
    if width * height > max_pixels:
        raise TooLargeError(
            f"{param} has {width} x {height} pixels; the limit is {max_pixels} pixels (INGRAIN_MAX_IMAGE_PIXELS).",
            param=param,
            facts={"limit": max_pixels},
        )


def _format_of(data: bytes) -> str | None:
    for magic, name in _MAGIC.items():
        if data.startswith(magic):
            return name
    return "WEBP" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def _webp_canvas(data: bytes) -> tuple[int, int]:
    """Read width and height from a WebP header (RFC 9649); its decoder makes room for the canvas when it is opened."""
    match data[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 ":
            return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    return 0, 0
