"""Fetches, decodes and resizes the images of a request (URLs, data URIs, base64, file bytes) concurrently."""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from PIL import AvifImagePlugin

from ingrain.cores import usable_cores
from ingrain.errors import TooLargeError
from ingrain.fetch.fetcher import Fetcher
from ingrain.fetch.headers import check_download_headers
from ingrain.preprocess.decode_memory import PixelBudget
from ingrain.preprocess.image import DEFAULT_MAX_PIXELS, ImagePreprocessor, Pixels
from ingrain.preprocess.image_source import is_url, read_embedded, too_many_bytes
from ingrain.repository.image_preprocess import ImagePreprocess
from ingrain.timeline import current

# Images of one request in progress at once, so that one request cannot take all fetch slots or all memory.
_SIDE_BY_SIDE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLimits:
    """Limits for the images of one request.

    Attributes:
        max_bytes: Limit of a file, fetched or sent.
        max_pixels: Limit of pixels of an image.
        max_fetches: Limit of URLs in one request.
        threads: Threads that decode and resize; 0: one per core.
    """

    max_bytes: int = 20 * 1024 * 1024
    max_pixels: int = DEFAULT_MAX_PIXELS
    max_fetches: int = 256
    threads: int = 0


class ImageInput:
    """Turns the ``image`` field of requests into pixels. Owns the decoding threads; create one per process."""

    def __init__(self, fetcher: Fetcher, limits: ImageLimits) -> None:
        # Pillow warns about irregular files; callers must not be able to write into the log.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        # Each decoding thread below decodes one image; more threads per image would only compete for the cores.
        AvifImagePlugin.DEFAULT_MAX_THREADS = 1
        self._fetcher = fetcher
        self._limits = limits
        self._budget = PixelBudget(4 * limits.max_pixels)
        threads = limits.threads or usable_cores()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="ingrain-image")
        self._side_by_side = max(_SIDE_BY_SIDE, threads)

    def preprocessor(self, config: ImagePreprocess) -> ImagePreprocessor:
        """Create a model's preprocessor with the limits of this process."""
        return ImagePreprocessor(config, max_pixels=self._limits.max_pixels, budget=self._budget)

    async def load(
        self,
        images: Sequence[str | bytes],
        preprocessor: ImagePreprocessor,
        *,
        headers: Mapping[str, str] | None = None,
        param: str = "image",
        places: Sequence[int] | None = None,
    ) -> list[Pixels]:
        """Fetch, decode and resize images.

        Checks headers and the number of URLs before fetching anything. The first error cancels all other images.

        Args:
            images: For each image an http or https URL, a data URI, bare base64, or the bytes of a file.
            preprocessor: The preprocessor of the model.
            headers: The caller's ``imageDownloadHeaders``.
            param: Name of the field; errors name the item (``image[3]``).
            places: Index of each image in the field; None if ``images`` is the whole field.

        Returns:
            ``uint8 [H, W, 3]`` for each image, in order.

        Raises:
            ImageError: An item is not an image.
            FetchRefusedError: A URL may not be fetched.
            FetchFailedError: The host of a URL did not respond, or returned an error.
            TooLargeError: An image or the number of URLs is above its limit.
            InvalidRequestError: A header is not allowed.
        """
        checked_headers = check_download_headers(headers)
        self.check(images, param=param)
        places = range(len(images)) if places is None else places
        if len(images) == 1:
            return [await self._one(images[0], preprocessor, checked_headers, f"{param}[{places[0]}]")]
        prepared: list[Pixels | None] = [None] * len(images)

        async def work(left: Iterator[tuple[int, str | bytes]]) -> None:
            for index, image in left:
                prepared[index] = await self._one(image, preprocessor, checked_headers, f"{param}[{places[index]}]")

        left = iter(enumerate(images))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._side_by_side, len(images))):
                    group.create_task(work(left))
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from failed.exceptions[0].__cause__
        return [pixels for pixels in prepared if pixels is not None]

    async def aclose(self) -> None:
        """Close the fetcher and stop the threads; drop the results of images in progress."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._fetcher.aclose()

    def check(self, images: Sequence[str | bytes], *, param: str = "image") -> None:
        """Check the number of URLs.

        Raises:
            TooLargeError: There are too many.
        """
        urls = sum(isinstance(image, str) and is_url(image) for image in images)
        if urls > self._limits.max_fetches:
            raise TooLargeError(
                f"{param} holds {urls} URLs; the limit is {self._limits.max_fetches} "
                "(INGRAIN_MAX_FETCHES_PER_REQUEST).",
                param=param,
                facts={"limit": self._limits.max_fetches},
            )

    async def _one(
        self, image: str | bytes, preprocessor: ImagePreprocessor, headers: Mapping[str, str], param: str
    ) -> Pixels:
        timeline, began = current.get(), time.perf_counter()
        if isinstance(image, str) and is_url(image):
            image = await self._fetcher.fetch(
                image.strip(), max_bytes=self._limits.max_bytes, headers=headers, param=param
            )
            if timeline is not None:
                timeline.add("fetch", began, began := time.perf_counter())
        loop = asyncio.get_running_loop()
        pixels = await loop.run_in_executor(self._threads, self._prepare, image, preprocessor, param)
        if timeline is not None:
            timeline.add("decode", began, time.perf_counter())
        return pixels

    def _prepare(self, image: str | bytes, preprocessor: ImagePreprocessor, param: str) -> Pixels:
        data = (
            image if isinstance(image, bytes) else read_embedded(image, max_bytes=self._limits.max_bytes, param=param)
        )
        if len(data) > self._limits.max_bytes:
            raise too_many_bytes(self._limits.max_bytes, param)
        return preprocessor.prepare(data, param=param)
