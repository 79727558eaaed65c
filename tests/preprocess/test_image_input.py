"""The image field as a whole: URLs, data URIs, base64 and bytes side by side, in order, within limits."""

import asyncio
import base64
import os
import threading
import time
from collections.abc import AsyncIterator
from typing import ClassVar

import numpy as np
import pytest

import picture_server as hosts
from images import encode, scene
from ingrain.app.limits import image_limits
from ingrain.errors import (
    FetchFailedError,
    FetchRefusedError,
    ImageError,
    InvalidRequestError,
    RequestError,
    TooLargeError,
)
from ingrain.fetch.fetcher import Fetcher
from ingrain.fetch.policy import FetchPolicy
from ingrain.preprocess.image import ImagePreprocessor, Pixels
from ingrain.preprocess.image_input import ImageInput, ImageLimits
from ingrain.repository.image_preprocess import CenterCrop, ImagePreprocess, Resize, ToRgb
from ingrain.settings import load_settings
from picture_server import PictureServer

STEPS = (Resize((32, 32), "shortest", "bicubic"), CenterCrop((32, 32)), ToRgb())
CONFIG = ImagePreprocess((32, 32), STEPS, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
FILES = [encode(scene(50, 40, seed=seed), "PNG") for seed in range(6)]
PIXELS = [ImagePreprocessor(CONFIG).prepare(data) for data in FILES]


@pytest.fixture
async def pictures() -> AsyncIterator[PictureServer]:
    async with PictureServer() as server:
        yield server


@pytest.fixture
async def image_input(pictures: PictureServer) -> AsyncIterator[ImageInput]:
    policy = FetchPolicy(exceptions=frozenset({("127.0.0.1", pictures.port)}), total_timeout_s=2.0)
    fetcher = Fetcher(policy)
    made = ImageInput(fetcher, ImageLimits(max_bytes=20_000, max_pixels=100_000, max_fetches=20))
    yield made
    await made.aclose()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def test_every_form_of_a_picture_is_the_same_pixels_in_order(
    image_input: ImageInput, pictures: PictureServer
) -> None:
    """The first one comes last from its host."""
    plain = hosts.answer(FILES[0])

    async def late(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        await plain(writer)

    pictures.replies |= {"/0.png": late, "/4.png": hosts.answer(FILES[4])}
    forms: list[str | bytes] = [
        pictures.url("/0.png"),
        b64(FILES[1]),
        "data:image/png;base64," + b64(FILES[2]),
        FILES[3],
    ]
    forms += [f" {pictures.url('/4.png')}\n", base64.urlsafe_b64encode(FILES[5]).decode()]
    loaded = await image_input.load(forms, image_input.preprocessor(CONFIG))
    assert len(loaded) == 6
    assert all(np.array_equal(ours, expected) for ours, expected in zip(loaded, PIXELS, strict=True))


async def test_a_single_picture_and_none_at_all(image_input: ImageInput) -> None:
    preprocessor = image_input.preprocessor(CONFIG)
    assert np.array_equal((await image_input.load([FILES[0]], preprocessor))[0], PIXELS[0])
    assert await image_input.load([], preprocessor) == []


async def test_urls_are_fetched_side_by_side(image_input: ImageInput, pictures: PictureServer) -> None:
    """Eight hosts that take 0.3 seconds each take little more together."""
    plain = hosts.answer(FILES[0])

    async def late(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        await plain(writer)

    pictures.replies["/"] = late
    started = time.monotonic()
    await image_input.load([pictures.url()] * 8, image_input.preprocessor(CONFIG))
    assert time.monotonic() - started < 2


BAD = {
    "not base64": ("!!!", ImageError),
    "empty": ("", ImageError),
    "another scheme": ("file:///etc/passwd", FetchRefusedError),
    "a private address": ("http://10.0.0.1/a.png", FetchRefusedError),
    "not there": ("{pictures}/none.png", FetchFailedError),
    "not a picture": ("{pictures}/page.html", ImageError),
    "too many bytes to fetch": ("{pictures}/long.png", TooLargeError),
    "too many bytes sent": (b64(bytes(20_001)), TooLargeError),
    "too many bytes in a data URI": ("data:," + "a" * 20_001, TooLargeError),
    "too many raw bytes": (bytes(20_001), TooLargeError),
    "too many pixels": (b64(encode(scene(1, 1).resize((400, 300)), "PNG")), TooLargeError),
    "a broken picture": (FILES[0][:500], ImageError),
}


@pytest.mark.parametrize("case", BAD)
async def test_an_error_names_the_item(case: str, image_input: ImageInput, pictures: PictureServer) -> None:
    pictures.replies |= {"/page.html": hosts.answer(b"<html>"), "/long.png": hosts.answer(bytes(20_001))}
    bad, expected = BAD[case]
    if isinstance(bad, str):
        bad = bad.replace("{pictures}", pictures.url("").rstrip("/"))
    with pytest.raises(expected) as caught:
        await image_input.load([FILES[0], FILES[1], FILES[2], bad, FILES[4]], image_input.preprocessor(CONFIG))
    assert isinstance(caught.value, RequestError)
    assert caught.value.param == "image[3]"
    assert caught.value.message.startswith("image[3] ")


async def test_too_many_urls_are_refused_before_any_is_fetched(
    image_input: ImageInput, pictures: PictureServer
) -> None:
    with pytest.raises(TooLargeError, match="INGRAIN_MAX_FETCHES_PER_REQUEST") as caught:
        await image_input.load([pictures.url()] * 21, image_input.preprocessor(CONFIG))
    assert caught.value.param == "image"
    assert pictures.connections == 0


async def test_the_first_failure_ends_the_rest(image_input: ImageInput, pictures: PictureServer) -> None:
    """Nobody waits for slow hosts when the answer is known."""
    pictures.replies["/"] = hosts.silence()
    started = time.monotonic()
    with pytest.raises(ImageError):
        await image_input.load([pictures.url(), "!!!", pictures.url()], image_input.preprocessor(CONFIG))
    assert time.monotonic() - started < 1.9


async def test_download_headers_reach_the_host_and_are_checked_first(
    image_input: ImageInput, pictures: PictureServer
) -> None:
    pictures.replies["/"] = hosts.answer(FILES[0])
    preprocessor = image_input.preprocessor(CONFIG)
    await image_input.load([pictures.url()], preprocessor, headers={"Authorization": "Bearer a"})
    assert pictures.hits[0].headers["authorization"] == "Bearer a"
    with pytest.raises(InvalidRequestError, match="imageDownloadHeaders"):
        await image_input.load([pictures.url()], preprocessor, headers={"Connection": "a"})
    assert len(pictures.hits) == 1


async def test_the_event_loop_runs_on_while_pictures_are_decoded() -> None:
    """A hundred pictures; the loop is never away for a third of the time that they take on the side."""
    big = encode(scene(360, 270), "PNG", compress_level=1)
    free = ImageInput(Fetcher(FetchPolicy(mode="off")), ImageLimits())
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            started = time.monotonic()
            await asyncio.sleep(0.001)
            longest = max(longest, time.monotonic() - started)

    watcher = asyncio.create_task(watch())
    begun = time.monotonic()
    await free.load([big] * 100, free.preprocessor(CONFIG))
    took_s = time.monotonic() - begun
    watcher.cancel()
    await free.aclose()
    assert longest < took_s / 3


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the platform cannot hold a process to some cores")
async def test_only_as_many_threads_decode_as_cores_may_be_used() -> None:
    """On a machine of many cores, a container may have one of them."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        made = ImageInput(Fetcher(FetchPolicy()), ImageLimits())
        preprocessor = _Noting(CONFIG)
        await made.load(FILES * 4, preprocessor)
    finally:
        os.sched_setaffinity(0, allowed)
    await made.aclose()
    assert len(preprocessor.threads) == 1


class _Noting(ImagePreprocessor):
    """Notes which threads prepare pictures."""

    threads: ClassVar[set[int]] = set()

    def prepare(self, data: bytes, *, param: str = "image[0]") -> Pixels:
        self.threads.add(threading.get_ident())
        return super().prepare(data, param=param)


def test_limits_come_from_the_settings() -> None:
    environ = {"INGRAIN_MAX_IMAGE_BYTES": "1", "INGRAIN_MAX_IMAGE_PIXELS": "2", "INGRAIN_MAX_FETCHES_PER_REQUEST": "3"}
    limits = image_limits(load_settings({}, environ | {"INGRAIN_IMAGE_THREADS": "4"}))
    assert limits == ImageLimits(max_bytes=1, max_pixels=2, max_fetches=3, threads=4)
