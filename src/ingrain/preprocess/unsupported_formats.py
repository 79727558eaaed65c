"""Recognizes unsupported file formats by their first bytes, so that an error can name the format."""

from __future__ import annotations

import re

_MAGIC = {
    b"%PDF-": "a PDF document",
    b"8BPS": "a Photoshop (PSD) picture",
    b"icns": "an icon (ICNS)",
    b"\xff\x0a": "a JPEG XL picture",
    b"\x00\x00\x00\x0cJXL \r\n\x87\n": "a JPEG XL picture",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n": "a JPEG 2000 picture",
    b"\xff\x4f\xff\x51": "a JPEG 2000 picture",
    b"%!PS": "a PostScript or EPS document",
    b"\xc5\xd0\xd3\xc6": "an EPS document",
    b"\x76\x2f\x31\x01": "an OpenEXR picture",
    b"#?RADIANCE": "a Radiance HDR picture",
    b"DDS ": "a DDS texture",
    b"qoif": "a QOI picture",
    b"gimp xcf": "a GIMP (XCF) picture",
    b"FUJIFILM": "a camera's raw picture",
    b"\x1aE\xdf\xa3": "a WebM or Matroska video",
    b"\x00\x00\x01\xba": "an MPEG video",
    b"OggS": "an Ogg video or sound",
    b"FLV\x01": "a Flash video",
    b"ID3": "an MP3 sound",
    b"fLaC": "a FLAC sound",
    b"PK\x03\x04": "a ZIP archive or an Office document",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"\xd0\xcf\x11\xe0": "an Office document",
    b"\x93NUMPY": "a NumPy array",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself",
    b"data:": "a data URI that was base64-encoded again",
}
_RIFF = {b"AVI ": "an AVI video", b"WAVE": "a WAV sound"}
HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_BRANDS = {
    b"qt  ": "a QuickTime (MOV) video",
    b"crx ": "a camera's raw picture (CR3)",
    b"M4A ": "an M4A sound",
    b"mif1": "a HEIF picture with an unknown codec",
    b"msf1": "a HEIF picture with an unknown codec",
}
_LONGEST_BRANDS = 256
# The last two bytes are the number of icons, at least one. TGA files start with the same bytes, but have zeros there.
_ICON = re.compile(rb"\x00\x00([\x01\x02])\x00(?!\x00\x00)..", re.DOTALL)
_ICONS = {b"\x01": "an icon (ICO)", b"\x02": "a cursor (CUR)"}
_PNM = re.compile(rb"P[1-7]\s")
_MARKUP = re.compile(rb"<(?:\?xml|!doctype|!--|[a-z][a-z0-9:]*[\s>/])", re.IGNORECASE)
_SVG, _HTML = re.compile(rb"<svg[\s>]", re.IGNORECASE), re.compile(rb"<(?:!doctype html|html)[\s>]", re.IGNORECASE)
_JSON = re.compile(rb"""\{\s*["}]|\[\s*["\d{\[\]-]""")


def brands_of(data: bytes) -> set[bytes]:
    """Return the major and compatible brands of an ISO base media file (HEIF, AVIF, MP4)."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4]), len(data), _LONGEST_BRANDS)
    return {data[8:12]} | {data[place : place + 4] for place in range(16, end - 3, 4)}


def describe_format(data: bytes) -> str | None:
    """Name the format of a file, with an article (``a PDF document``); None if the format is unknown."""
    for magic, name in _MAGIC.items():
        if data.startswith(magic):
            return name
    if icon := _ICON.match(data):
        return _ICONS[icon[1]]
    if data[:4] == b"RIFF":
        return _RIFF.get(data[8:12])
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "an MP4 video")
    if data[128:132] == b"DICM":
        return "a DICOM picture"
    if _PNM.match(data):
        return "a PNM picture"
    return _describe_text(data[:1024])


def _describe_text(start: bytes) -> str | None:
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _MARKUP.match(text):
        if _SVG.search(text):
            return "an SVG drawing"
        return "an HTML page" if _HTML.search(text) else "an XML document"
    return "a JSON document" if _JSON.match(text) else None
