"""Shrink a picture file so that the model still gets the very same pixels."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import msgspec

from ingrain.api.image_steps import ImageStep
from ingrain.errors import ClientError

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


def shrink(data: bytes, geometry: Sequence[ImageStep]) -> bytes:
    """Do the model's own resizing here, and let the server find nothing left to resize.

    What is sent is compared with what the server would have made of the whole picture; where one byte differs, where
    the result is not smaller, or where the picture cannot be opened here, the file stays as it is.

    Args:
        data: A picture file.
        geometry: Of the model, as ``GET /model_image_geometry`` tells it.

    Raises:
        ClientError: Pillow is not installed.
    """
    try:
        from PIL import Image

        from ingrain.preprocess.image_steps import apply_steps, resized_size
        from ingrain.repository.manifest import ImageStep as Step
        from ingrain.repository.manifest import Resize, ResizeTensor
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
    except Exception:
        # Pillow fails on what it cannot open or write with whatever it stumbles over; the server says what is wrong.
        return data
    return file.getvalue() if same and len(file.getvalue()) < len(data) else data
