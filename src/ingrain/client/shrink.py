"""Shrink an image file such that the model still gets exactly the same pixels."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import msgspec

from ingrain.api.image_steps import ImageStep
from ingrain.errors import ClientError

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


def shrink(data: bytes, geometry: Sequence[ImageStep]) -> bytes:
    """Apply the model's own resizing on the client, so that the server has nothing left to resize.

    Return the original file if the server's pixels would differ in one byte, if the result is not smaller, or if the
    image cannot be opened here.

    Args:
        data: An image file.
        geometry: The model's steps from ``GET /model_image_geometry``.

    Raises:
        ClientError: Pillow is not installed.
    """
    try:
        from PIL import Image

        from ingrain.preprocess.image_steps import apply_steps, resized_size
        from ingrain.repository.image_preprocess import ImageStep as Step
        from ingrain.repository.image_preprocess import Resize, ResizeTensor
    except ModuleNotFoundError as error:
        raise ClientError("Shrinking pictures before they are sent needs Pillow: pip install pillow.") from error
    steps = msgspec.convert(msgspec.to_builtins(geometry), tuple[Step, ...])
    found = ((number, step) for number, step in enumerate(steps, 1) if isinstance(step, Resize | ResizeTensor))
    until, resize = next(found, (0, None))
    if resize is None:
        return data
    try:
        with Image.open(BytesIO(data), formats=_FORMATS) as image:
            width, height = resized_size(resize, *image.size)
            if width * height >= image.width * image.height:
                return data
            image.load()
            resized = apply_steps(steps[:until], image)
            file = BytesIO()
            resized.save(file, "PNG", compress_level=6)
            expected = apply_steps(steps[until:], resized)
        with Image.open(BytesIO(file.getvalue()), formats=("PNG",)) as sent:
            seen = apply_steps(steps, sent)
            same = (seen.mode, seen.size, seen.tobytes()) == (expected.mode, expected.size, expected.tobytes())
    except Exception:  # as any kind of fault in the file is no fault here
        # Pillow raises many kinds of exceptions for bad files; the server reports what is wrong with the file.
        return data
    return file.getvalue() if same and len(file.getvalue()) < len(data) else data
