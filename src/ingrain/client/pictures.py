"""Makes the requests for the images of a call, from any of the supported input types."""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ingrain.client.answers import Part
from ingrain.client.items import Cut, Group, Items, check_container, groups
from ingrain.client.png import encode_png
from ingrain.client.requests import ModelName
from ingrain.client.rows import Calls, RowOptions, row_calls
from ingrain.errors import ImageError

if TYPE_CHECKING:
    from PIL.Image import Image

Picture: TypeAlias = "str | bytes | bytearray | memoryview | os.PathLike[str] | IO[bytes] | Image | NDArray[np.uint8]"
"""A URL, a data URI, base64, a file's path or bytes, an open file, a Pillow image, or an array ``uint8 [H, W]`` or
``[H, W, C]``."""
Pictures: TypeAlias = "Picture | Iterable[Picture]"
"""One image or several; an array ``uint8 [N, H, W, C]`` is several."""
AsyncPictures: TypeAlias = "Pictures | AsyncIterable[Picture]"
"""One image or several, as in ``Pictures``, or an asynchronous generator."""

Shrink: TypeAlias = "Callable[[bytes], bytes]"

_URLS = ("http:", "https:")
_NOT_ENCODED = (*_URLS, "data:")
_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif")
_LONGEST_PATH = 4096
_MOST = 16
_MOST_BYTES = 8 * 1024 * 1024
_BYTES = bytes | bytearray | memoryview


def pictures_of(given: Any) -> Items[Any]:
    """Return an iterable of images; a single image becomes a list.

    Raises:
        ImageError: ``given`` is not a sequence of images.
    """
    if isinstance(given, np.ndarray):
        several = given.ndim == 4 or (given.ndim == 1 and given.dtype.kind in "OU")
        return list(given) if several else [given]
    if isinstance(given, str | os.PathLike | _BYTES) or hasattr(given, "read") or _is_pillow(given):
        return [given]
    return check_container(given, "image")


def picture_calls(
    route: str,
    model: ModelName,
    pictures: Items[Any],
    fields: Mapping[str, object],
    options: RowOptions,
    shrink: Shrink | None,
) -> Calls[Part]:
    """Yield the requests of a route for images."""
    cut = Cut(
        field="image",
        read=lambda picture, _at: picture,
        weigh=weight_of,
        most=_MOST,
        heaviest=_MOST_BYTES,
        skip_none=options.skip_none,
    )

    def encode(group: Group[Any]) -> list[str]:
        return wire_pictures(group.items, shrink, places=group.places)

    return row_calls(route, model, "image", groups(pictures, cut), fields, options, encode)


def weight_of(picture: Any) -> int:
    """Return the approximate bytes of an image in a request; 0 for URLs."""
    try:
        if isinstance(picture, str) and not _is_path(picture):
            return 0 if _starts_with(picture, _URLS) else len(picture)
        if isinstance(picture, str | os.PathLike):
            return Path(picture).stat().st_size
        if hasattr(picture, "read"):
            return picture.seek(0, os.SEEK_END) if _can_seek(picture) else 0
    except (OSError, ValueError):
        return 0  # reading the file raises the error
    if isinstance(picture, np.ndarray | memoryview):
        return picture.nbytes
    if isinstance(picture, _BYTES):
        return len(picture)
    if _is_pillow(picture):
        return 3 * picture.width * picture.height  # type: ignore[no-any-return]
    return 0  # not an image; encoding raises the error


def wire_pictures(pictures: Sequence[Any], shrink: Shrink | None, *, places: Sequence[int] | None = None) -> list[str]:
    """Return the ``image`` field of a request.

    Args:
        pictures: The images of one request.
        shrink: Shrinks an image file; None to send files unchanged.
        places: Index of each image in the caller's list; 0, 1, … if None.

    Raises:
        ImageError: An image cannot be read or has an unsupported type; ``param`` has its index in the caller's list.
    """
    places = range(len(pictures)) if places is None else places
    return [_wire(picture, f"image[{place}]", shrink) for picture, place in zip(pictures, places, strict=True)]


def _wire(picture: Any, param: str, shrink: Shrink | None) -> str:
    if isinstance(picture, str) and not _is_path(picture):
        return picture.strip()
    try:
        data = _file_of(picture)
    except OSError as error:
        what = f"the file {str(picture)!r}" if isinstance(picture, str | os.PathLike) else f"a {type(picture).__name__}"
        raise ImageError(f"{param}: {what} cannot be read ({error.strerror or error}).", param=param) from error
    except ValueError as error:
        raise ImageError(f"{param}: {error}.", param=param) from error
    return base64.b64encode(data if shrink is None else shrink(data)).decode("ascii")


def _file_of(picture: Any) -> bytes:
    """Return an image as the bytes of an image file."""
    if isinstance(picture, _BYTES):
        return bytes(picture)
    if isinstance(picture, str | os.PathLike):
        return Path(picture).read_bytes()
    if isinstance(picture, np.ndarray):
        return encode_png(picture)
    if _is_pillow(picture):
        from ingrain.client.pillow import encode_pillow

        return encode_pillow(picture)
    if hasattr(picture, "read"):
        return _read_file(picture)
    raise ValueError(f"a {type(picture).__name__} is no picture")


def _read_file(file: Any) -> bytes:
    """Return the whole contents of an open file, from its start, as ``PIL.Image.open`` does."""
    if _can_seek(file):
        file.seek(0)
    data = file.read()
    if not isinstance(data, bytes):
        raise ValueError("a file that was opened for text is no picture; open it with mode 'rb'")
    return data


def _can_seek(file: Any) -> bool:
    return hasattr(file, "seekable") and bool(file.seekable())


def _is_path(text: str) -> bool:
    """Return True if a string is a path: it has the suffix of an image file, or there is such a file.

    A base64 image is too long to be the path of an existing file.
    """
    if _starts_with(text, _NOT_ENCODED):
        return False
    if text.lower().endswith(_SUFFIXES):
        return True
    try:
        return len(text) <= _LONGEST_PATH and Path(text).is_file()
    except (OSError, ValueError):
        return False  # a name is too long or contains a NUL byte


def _starts_with(text: str, words: tuple[str, ...]) -> bool:
    return text[:_LONGEST_PATH].lstrip()[:8].lower().startswith(words)


def _is_pillow(value: object) -> bool:
    """Return True for a Pillow image, without importing Pillow, which may not be installed."""
    return any(cls.__module__ == "PIL.Image" and cls.__name__ == "Image" for cls in type(value).__mro__)
