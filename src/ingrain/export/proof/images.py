"""The images of a proof: several sizes, shapes and modes, none of uniform colour."""

from __future__ import annotations

import functools
from io import BytesIO

import numpy as np
from PIL import Image

# Width, height, mode, format. A brief proof uses the first few.
_IMAGES = (
    (640, 427, "RGB", "JPEG"),
    (233, 517, "RGB", "PNG"),
    (97, 64, "RGBA", "PNG"),
    (512, 512, "L", "PNG"),
    (1024, 230, "RGB", "JPEG"),
    (41, 50, "P", "PNG"),
    (300, 301, "CMYK", "JPEG"),
    (224, 224, "RGB", "PNG"),
    (500, 333, "LA", "PNG"),
    (768, 1024, "RGB", "WEBP"),
)
BRIEF = 3


def encoded_images(*, brief: bool = False) -> list[bytes]:
    """Return encoded images, the same every time: smooth shapes with noise, as in photographs.

    Their brightness differs, so that even networks that average over an image distinguish them.
    """
    return [_encode(*kind, seed=number) for number, kind in enumerate(_IMAGES[:BRIEF] if brief else _IMAGES)]


@functools.cache  # drawing the images takes longer than a small network's proof
def _encode(width: int, height: int, mode: str, file_format: str, *, seed: int) -> bytes:
    random = np.random.default_rng(20261122 + seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    channels = []
    for _ in range(3):
        waves = sum(
            random.uniform(20, 60)
            * np.sin(x * random.uniform(0.5, 9) / width * 6 + y * random.uniform(0.5, 9) / height)
            for _ in range(3)
        )
        channels.append(random.uniform(20, 235) + waves + random.normal(0, 12, x.shape))
    colours = np.clip(np.stack(channels, axis=-1), 0, 255).astype(np.uint8)
    image = Image.fromarray(colours, "RGB")
    if mode in ("RGBA", "LA"):
        opacity = np.clip(x / width * 255, 0, 255).astype(np.uint8)
        image = image.convert(mode[:-1])
        image.putalpha(Image.fromarray(opacity, "L"))
    elif mode == "P":
        image = image.quantize(64)
    else:
        image = image.convert(mode)
    stream = BytesIO()
    image.save(stream, file_format, **({} if file_format == "PNG" else {"quality": 92}))
    return stream.getvalue()
