"""Pictures in whatever form the caller has them, as the strings that the wire takes."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from ingrain.client.png import encode_png
from ingrain.errors import ImageError
from ingrain.repository.manifest import ImageStep

if TYPE_CHECKING:
    from PIL.Image import Image

Picture: TypeAlias = "str | bytes | os.PathLike[str] | Image | NDArray[np.uint8]"
"""A URL, a data URI, base64, the path or the bytes of a file, a Pillow image, or ``uint8 [H, W]`` or ``[H, W, C]``."""
Pictures: TypeAlias = "Picture | Iterable[Picture]"
"""One picture or several; an array ``uint8 [N, H, W, C]`` is several."""

_NOT_ENCODED = ("http://", "https://", "data:")
# A base64 string holds no dot, so that no string means one thing today and another when a file of its name appears.
_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
_PNG_MODES = {"1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA"}


def as_list(pictures: Pictures) -> Iterable[Picture]:
    """Return the pictures one by one, where the caller may have given a single one."""
    if isinstance(pictures, np.ndarray):
        return list(pictures) if pictures.ndim == 4 else [pictures]
    if isinstance(pictures, str | bytes | os.PathLike) or _is_pillow(pictures):
        return [cast("Picture", pictures)]
    return cast("Iterable[Picture]", pictures)


def weight_of(picture: Picture) -> int:
    """Return about how many bytes a picture will be on its way; 0 for what the server fetches itself."""
    if isinstance(picture, str) and not _is_path(picture):
        return 0 if picture.startswith(_NOT_ENCODED[:2]) else len(picture)
    if isinstance(picture, str | os.PathLike):
        try:
            return Path(picture).stat().st_size
        except OSError:
            return 0  # told as an error when it is read
    if isinstance(picture, bytes):
        return len(picture)
    if isinstance(picture, np.ndarray):
        return picture.nbytes
    if _is_pillow(picture):
        return 3 * picture.width * picture.height
    return 0  # no picture; told as an error when it is encoded


def wire_pictures(pictures: Sequence[Picture], steps: Sequence[ImageStep] | None, *, first: int = 0) -> list[str]:
    """Return what stands in the ``image`` field of a request.

    Args:
        pictures: Of one request.
        steps: The model's own geometry, to shrink pictures by before they are sent; None to send them as they are.
        first: Number that the first of them has in the caller's list.

    Raises:
        ImageError: A picture cannot be read, or is none; ``param`` numbers it in the caller's list.
    """
    return [_wire(picture, f"image[{number}]", steps) for number, picture in enumerate(pictures, first)]


def _wire(picture: Picture, param: str, steps: Sequence[ImageStep] | None) -> str:
    if isinstance(picture, str) and not _is_path(picture):
        return picture
    try:
        data = _file_of(picture, steps)
    except OSError as error:
        raise ImageError(
            f"{param}: the file {str(picture)!r} cannot be read ({error.strerror}).", param=param
        ) from error
    except ValueError as error:
        raise ImageError(f"{param}: {error}.", param=param) from error
    return base64.b64encode(data).decode("ascii")


def _file_of(picture: Picture, steps: Sequence[ImageStep] | None) -> bytes:
    """Return the bytes of a picture file, shrunk where that was asked for and can be done."""
    if isinstance(picture, bytes):
        data = picture
    elif isinstance(picture, str | os.PathLike):
        data = Path(picture).read_bytes()
    elif isinstance(picture, np.ndarray):
        data = encode_png(picture)
    elif _is_pillow(picture):
        data = _encode_pillow(picture)
    else:
        raise ValueError(f"a {type(picture).__name__} is no picture")
    if steps is None:
        return data
    from ingrain.client.shrink import shrink

    return shrink(data, steps)


def _encode_pillow(image: Image) -> bytes:
    """Return a file that keeps the picture's mode where a lossless format can, for conversion is the model's affair."""
    if image.mode == "CMYK":
        file_format, kept = "TIFF", image
    elif image.mode in _PNG_MODES:
        file_format, kept = "PNG", image
    else:
        file_format, kept = "PNG", image.convert("RGBA" if image.mode in ("PA", "La", "RGBa") else "RGB")
    file = BytesIO()
    options: dict[str, Any] = {"compress_level": 1} if file_format == "PNG" else {}
    kept.save(file, file_format, **options)
    return file.getvalue()


def _is_path(text: str) -> bool:
    return not text.startswith(_NOT_ENCODED) and text.lower().endswith(_SUFFIXES)


def _is_pillow(value: object) -> bool:
    """Tell a Pillow image without importing Pillow, which need not be installed."""
    return any(cls.__module__ == "PIL.Image" and cls.__name__ == "Image" for cls in type(value).__mro__)


def chunks(pictures: Iterable[Picture], *, most: int, most_bytes: int) -> Iterator[list[Picture]]:
    """Cut pictures into requests of at most ``most``, and about ``most_bytes`` where that is more than one picture."""
    chunk: list[Picture] = []
    weight = 0
    for picture in pictures:
        more = weight_of(picture)
        if chunk and (len(chunk) == most or weight + more > most_bytes):
            yield chunk
            chunk, weight = [], 0
        chunk.append(picture)
        weight += more
    if chunk:
        yield chunk
