"""Decodes an image file and resizes it to the input size of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

# Importing a plugin registers its format with Pillow. Only these formats, and HEIC if installed, are ever read.
from PIL import (
    AvifImagePlugin,  # noqa: F401
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

from ingrain.errors import ImageError, IngrainError, TooLargeError
from ingrain.preprocess.avif import as_still
from ingrain.preprocess.decode_memory import PixelBudget
from ingrain.preprocess.image_formats import check_format, check_pixels
from ingrain.preprocess.image_steps import apply_steps, effort_of
from ingrain.repository.image_preprocess import ImagePreprocess, ImageStep, OnWhite, ResizeTensor

Pixels = NDArray[np.uint8]

DEFAULT_MAX_PIXELS = 25_000_000


class ImagePreprocessor:
    """Prepares images as the source library does. Thread-safe; Pillow releases the GIL for most of the time.

    Uses the first frame and ignores EXIF orientation, as the transforms of torchvision, OpenCLIP and timm do with an
    image from ``PIL.Image.open``.

    Args:
        config: Image steps and input size of the model.
        max_pixels: Limit of pixels of an image, before and after resizing.
        budget: Memory budget that all preprocessors of this process share; by default one for this preprocessor alone.
    """

    def __init__(
        self, config: ImagePreprocess, *, max_pixels: int = DEFAULT_MAX_PIXELS, budget: PixelBudget | None = None
    ) -> None:
        self.config = config
        self._max_pixels = max_pixels
        self._budget = budget or PixelBudget(4 * max_pixels)

    def prepare(self, data: bytes, *, param: str = "image[0]") -> Pixels:
        """Decode and resize one image.

        Args:
            data: A JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF file; also a HEIC file if ``ingrain[heic]`` is installed.
            param: Path of the field that contains the image, for errors.

        Returns:
            ``uint8 [H, W, 3]``, read-only.

        Raises:
            ImageError: The file has another format, is damaged, or is too narrow for the model.
            TooLargeError: The image or an intermediate image has too many pixels.
        """
        name = check_format(data, max_pixels=self._max_pixels, param=param)
        try:
            with (
                _open(data, name) as image,
                self._budget.hold(_weight(image, self.config.steps) * self._check_size(image, param)),
            ):
                image.load()
                self._check_size(image, param)  # decoding may show that the header was wrong
                prepared = apply_steps(self.config.steps, image)
                return np.frombuffer(prepared.tobytes(), np.uint8).reshape(*self.config.size, 3)
        except IngrainError:
            raise
        except Image.DecompressionBombError as error:
            raise TooLargeError(
                f"{param} has far more pixels than the limit of {self._max_pixels} (INGRAIN_MAX_IMAGE_PIXELS).",
                param=param,
                facts={"limit": self._max_pixels},
            ) from error
        except Exception as error:
            # Pillow's parsers raise a dozen exception types for damaged files: OSError, SyntaxError, KeyError,
            # struct.error and so on.
            shown = "HEIC" if name == "HEIF" else name
            raise ImageError(f"{param} is a damaged or incomplete {shown} picture.", param=param) from error

    def _check_size(self, image: Image.Image, param: str) -> int:
        """Refuse an image that is too large or too narrow; return the pixels of all its intermediate images."""
        width, height = image.size
        check_pixels(width, height, max_pixels=self._max_pixels, param=param)
        effort = effort_of(self.config.steps, width, height) if width and height else None
        if effort is None or not effort.largest:
            raise ImageError(f"{param} is too narrow for this model: {width} x {height} pixels.", param=param)
        # A very low max_pixels must not refuse images of the model's own input size.
        limit = max(self._max_pixels, 16 * self.config.size[0] * self.config.size[1])
        if effort.largest > limit:
            raise TooLargeError(
                f"{param} of {width} x {height} pixels would have {effort.largest} pixels while it is resized for this "
                f"model; the limit is {limit} pixels (INGRAIN_MAX_IMAGE_PIXELS).",
                param=param,
                facts={"limit": limit},
            )
        return effort.total


def _open(data: bytes, name: str) -> Image.Image:
    if name == "HEIF":
        import pillow_heif

        # Skip thumbnails and depth maps. One thread per image, because ImageInput decodes images in its own threads.
        pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
    elif name == "AVIF":
        data = as_still(data)
    return Image.open(BytesIO(data), formats=(name,))


def _weight(image: Image.Image, steps: Sequence[ImageStep]) -> int:
    """Return the memory for decoding, in units of four bytes per pixel (one Pillow image); measured and rounded up."""
    decoding = 1 if image.mode == "RGB" else 2  # the original and its conversion
    if image.format in ("WEBP", "AVIF", "HEIF"):
        decoding = 4  # canvases of the decoder and of Pillow
    elif image.info.get("progressive"):
        decoding = 3  # the decoder keeps all coefficients of a progressive JPEG
    # OnWhite adds a white canvas and the composite, ResizeTensor an array of the pixels.
    transparent = image.mode != "RGB" or "transparency" in image.info
    preparing = 2 * (transparent and any(isinstance(step, OnWhite) for step in steps))
    return decoding + preparing + any(isinstance(step, ResizeTensor) for step in steps)
