"""What the tasks on images share: the images of a request, their limits, and their conversion to pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from ingrain.models.loaded import LoadedModel
from ingrain.pipeline.task import Groups, ModelName, RequestLimits
from ingrain.preprocess.image import ImagePreprocessor
from ingrain.preprocess.image_input import ImageInput
from ingrain.tasks.item_limit import check_count

# A request has the pixels of at most two groups in memory.
_IMAGES_A_GROUP = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Images of a request.

    Attributes:
        images: URLs, data URIs, base64 or the bytes of files.
        headers: Headers to download URLs with.
        param: Name of the request field, for errors.
        places: Index of each image in the request field; None if ``images`` is the whole field.
    """

    images: Sequence[str | bytes]
    headers: Mapping[str, str] | None = None
    param: str = "image"
    places: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(self.images)


def check_images(limits: RequestLimits, images: Images) -> None:
    """Refuse too many images."""
    check_count(len(images), limits.max_items, images.param, "images")


class ImagesTask(msgspec.Struct, eq=False):
    """The first steps of a task whose items are images."""

    model: ModelName
    images: Images

    def __len__(self) -> int:
        return len(self.images)

    def item_name(self, index: int) -> str:
        """Return the name of an image for errors."""
        places = self.images.places
        return f"{self.images.param}[{index if places is None else places[index]}]"

    def check(self, limits: RequestLimits) -> None:
        """Refuse too many images."""
        check_images(limits, self.images)

    def prepare(self, model: LoadedModel, images: ImageInput) -> Groups:
        """Check the images and return a generator of groups of their pixels, each ``uint8 [H, W, 3]``."""
        assert model.image is not None
        images.check(self.images.images, param=self.images.param)
        return _load_pixels(self.images, model.image, images)


async def _load_pixels(images: Images, preprocessor: ImagePreprocessor, source: ImageInput) -> Groups:
    for first in range(0, len(images), _IMAGES_A_GROUP):
        group = images.images[first : first + _IMAGES_A_GROUP]
        places = range(first, first + len(group)) if images.places is None else images.places[first:]
        yield await source.load(group, preprocessor, headers=images.headers, param=images.param, places=places)
