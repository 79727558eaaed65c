"""Checks the size of the coded frames in an AVIF file before the file is decoded.

A decoder ignores the image size in the container (``ispe``). So a file of a kilobyte may declare 64 x 64 pixels and
contain a frame of 16384 x 16384, or thousands of frames that are never shown. Formats: ISO 14496-12 (boxes, ``iloc``),
ISO 23008-12 (items), the AV1 specification 5.3 and 5.5 (OBUs, the sequence header).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ingrain.errors import ImageError, TooLargeError

_SEQUENCE_HEADER, _FRAME_HEADER, _FRAME = 1, 3, 6
# Limit for all items of a file, in times of max_pixels. Items are the tiles of a grid, alpha, a gain map, thumbnails.
_MOST_TIMES_LARGER = 8
_MOST_ITEMS, _MOST_UNITS = 2000, 10_000


def as_still(data: bytes) -> bytes:
    """Set the brand of an AVIF to that of a single image, so that decoders read only the main item of a sequence."""
    return data if data[8:12] == b"avif" else data[:8] + b"avif" + data[12:]


def check_coded_sizes(data: bytes, *, max_pixels: int, param: str) -> None:
    """Refuse an AVIF whose coded frames have too many pixels.

    Args:
        data: The whole file.
        max_pixels: Limit of pixels of an image.
        param: Path of the field that contains the image, for errors.

    Raises:
        TooLargeError: A frame has, or may have, more than ``max_pixels``.
        ImageError: All frames together have many times more than ``max_pixels``, or the file is damaged.
    """
    total = 0
    try:
        for item in _coded_items(memoryview(data)):
            coded = _read_item(item)
            for width, height in coded.sizes:
                if width * height > max_pixels:
                    raise TooLargeError(
                        f"{param} has coded frames of {width} x {height} pixels; the limit is {max_pixels} pixels "
                        "(INGRAIN_MAX_IMAGE_PIXELS).",
                        param=param,
                        facts={"limit": max_pixels},
                    )
            total += max((width * height for width, height in coded.sizes), default=0) * max(1, coded.frames)
    except (ValueError, IndexError) as error:
        raise ImageError(f"{param} is a damaged or incomplete AVIF picture.", param=param) from error
    if total > _MOST_TIMES_LARGER * max_pixels:
        raise ImageError(f"{param} is an AVIF with more coded frames than an image needs.", param=param)


@dataclass(frozen=True, slots=True)
class _Coded:
    """Possible sizes of an item's frames, and the number of frames."""

    sizes: list[tuple[int, int]]
    frames: int


class _Reader:
    """Reads bit fields from bytes.

    Raises:
        IndexError: A field goes beyond the end of the bytes.
    """

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._place = 0

    def bits(self, count: int) -> int:
        value = 0
        for place in range(self._place, self._place + count):
            value = value << 1 | self._data[place >> 3] >> (7 - (place & 7)) & 1
        self._place += count
        return value

    def skip_variable(self) -> None:
        """Skip a number of variable length (``uvlc``)."""
        zeros = 0
        while not self.bits(1):
            zeros += 1
        self.bits(min(zeros, 32))


def _boxes(data: memoryview, place: int = 0) -> Iterator[tuple[bytes, memoryview]]:
    while place + 8 <= len(data):
        size, head = int.from_bytes(data[place : place + 4]), 8
        if size == 1:
            size, head = int.from_bytes(data[place + 8 : place + 16]), 16
        end = len(data) if size == 0 else place + size
        if end < place + head:
            raise ValueError("a box ends before it begins")
        yield bytes(data[place + 4 : place + 8]), data[place + head : end]
        place = end


def _coded_items(data: memoryview) -> Iterator[memoryview]:
    """Yield the bytes of each AV1 item."""
    meta = dict(_boxes(next(body for kind, body in (*_boxes(data), (b"meta", data[:0])) if kind == b"meta"), 4))
    if b"iinf" not in meta or b"iloc" not in meta:
        raise ValueError("no items")
    coded = _ids_of_coded(meta[b"iinf"])
    for number, is_inside, extents in _locations(meta[b"iloc"]):
        if number in coded:
            base = meta.get(b"idat", data[:0]) if is_inside else data
            parts = [base[start : start + length] if length else base[start:] for start, length in extents]
            if sum(map(len, parts)) > len(data):
                raise ValueError("an item is larger than its file")
            yield parts[0] if len(parts) == 1 else memoryview(b"".join(parts))


def _ids_of_coded(iinf: memoryview) -> set[int]:
    found = set()
    for kind, body in _boxes(iinf, 6 if iinf[0] == 0 else 8):
        if kind == b"infe" and body[0] >= 2:
            width = 2 if body[0] == 2 else 4
            if bytes(body[6 + width : 10 + width]) == b"av01":
                found.add(int.from_bytes(body[4 : 4 + width]))
    if not 0 < len(found) <= _MOST_ITEMS:
        raise ValueError("no coded item, or too many")
    return found


def _locations(iloc: memoryview) -> Iterator[tuple[int, bool, list[tuple[int, int]]]]:
    """Yield each item's id, whether its data is in the box ``idat``, and its extents as offset and length."""
    version, place = iloc[0], 6
    offset_size, length_size, base_size = iloc[4] >> 4, iloc[4] & 15, iloc[5] >> 4
    index_size = iloc[5] & 15 if version else 0

    def take(size: int) -> int:
        nonlocal place
        place += size
        if place > len(iloc):
            raise IndexError
        return int.from_bytes(iloc[place - size : place])

    wide = 4 if version == 2 else 2
    for _ in range(take(wide)):
        number = take(wide)
        is_inside = bool(version and take(2) & 15)
        take(2)
        base = take(base_size)
        extents = []
        for _ in range(take(2)):
            take(index_size)
            extents.append((base + take(offset_size), take(length_size)))
        yield number, is_inside, extents


def _read_item(item: memoryview) -> _Coded:
    sizes: list[tuple[int, int]] = []
    frames = place = 0
    for _ in range(_MOST_UNITS):
        if place >= len(item):
            return _Coded(sizes, frames)
        head = item[place]
        kind, place = head >> 3 & 15, place + (2 if head & 4 else 1)
        size = len(item) - place
        if head & 2:
            size, place = _leb128(item, place)
        if kind == _SEQUENCE_HEADER:
            sizes.append(_read_sequence_header(_Reader(item[place : place + size])))
        frames += kind in (_FRAME_HEADER, _FRAME)
        place += size
    raise ValueError("an item of too many units")


def _leb128(data: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for number in range(8):
        byte = data[place + number]
        value |= (byte & 127) << 7 * number
        if byte < 128:
            return value, place + number + 1
    raise ValueError("a number without an end")


def _read_sequence_header(reader: _Reader) -> tuple[int, int]:
    """Return the largest possible width and height of a frame.

    Unless the sequence is a still image with the short header, a frame may override the sequence's size, within the
    same number of bits. An encoder needs the topmost bit for the sequence's size, so each side is taken as at least
    half the largest size of that many bits.
    """
    reader.bits(4)
    is_short = reader.bits(1)
    if is_short:
        reader.bits(5)
    else:
        _skip_operating_points(reader)
    width_bits, height_bits = 1 + reader.bits(4), 1 + reader.bits(4)
    width, height = 1 + reader.bits(width_bits), 1 + reader.bits(height_bits)
    if is_short:
        return width, height
    return max(width, 1 << width_bits - 1), max(height, 1 << height_bits - 1)


def _skip_operating_points(reader: _Reader) -> None:
    delay_bits = 0
    has_model = 0
    if reader.bits(1):  # timing
        reader.bits(64)
        if reader.bits(1):
            reader.skip_variable()
        has_model = reader.bits(1)
        if has_model:
            delay_bits = 1 + reader.bits(5)
            reader.bits(42)
    has_delay = reader.bits(1)
    for _ in range(1 + reader.bits(5)):
        reader.bits(12)
        if reader.bits(5) > 7:
            reader.bits(1)
        if has_model and reader.bits(1):
            reader.bits(2 * delay_bits + 1)
        if has_delay and reader.bits(1):
            reader.bits(4)
