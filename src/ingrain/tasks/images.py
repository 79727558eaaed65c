"""Images of a request: their limits, and their way to pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ingrain.pipeline.task import Groups, RequestLimits
from ingrain.preprocess.image import ImagePreprocessor
from ingrain.preprocess.image_input import ImageInput
from ingrain.tasks.item_limit import check_count

# Images whose pixels are in memory at once for one request are at most twice as many.
_IMAGES_A_GROUP = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Images of a request.

    Attributes:
        images: URLs, data URIs, base64 or the bytes of files.
        headers: To fetch URLs with.
        param: The caller's name of the field, for errors.
        places: Index of each in the caller's list, where they are a part of it.
    """

    images: Sequence[str | bytes]
    headers: Mapping[str, str] | None = None
    param: str = "image"
    places: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(self.images)


def check_images(limits: RequestLimits, images: Images) -> None:
    """Refuse too many images."""
    check_count(limits, len(images), images.param, "images")


async def load_pixels(images: Images, preprocessor: ImagePreprocessor, source: ImageInput) -> Groups:
    """Yield the pixels of all images, group by group: each ``uint8 [H, W, 3]``."""
    for first in range(0, len(images), _IMAGES_A_GROUP):
        group = images.images[first : first + _IMAGES_A_GROUP]
        places = range(first, first + len(group)) if images.places is None else images.places[first:]
        yield await source.load(group, preprocessor, headers=images.headers, param=images.param, places=places)
