"""Embeds images."""

from __future__ import annotations

import msgspec

from ingrain.batching.batcher import Batcher
from ingrain.errors import ModalityError
from ingrain.models.loaded import LoadedModel
from ingrain.pipeline.task import Groups, ModelName, RequestLimits, Rows
from ingrain.postprocess.quantize import NEEDS_RANGES, AnyVectors
from ingrain.preprocess.image import Pixels
from ingrain.preprocess.image_input import ImageInput
from ingrain.tasks.images import Images, check_images, load_pixels
from ingrain.tasks.vectors import VectorForm, check_form, finish_vectors


class EmbedImages(msgspec.Struct, eq=False):
    """The task: vectors in the order of the images."""

    model: ModelName
    images: Images
    form: VectorForm

    def __len__(self) -> int:
        return len(self.images)

    def check(self, limits: RequestLimits) -> None:
        """Refuse too many images."""
        check_images(limits, self.images)

    def admit(self, model: LoadedModel, limits: RequestLimits) -> Batcher[Pixels]:
        """Return the queue of the image encoder."""
        del limits
        queue = model.queue("image_encoder", self.images.param, "embed images")
        if self.form.dtype in NEEDS_RANGES:
            raise ModalityError(
                f"{self.form.dtype} vectors need ranges, which are measured on texts, and images have others; "
                "float, binary and ubinary are what images can have.",
                param="outputDtype",
            )
        check_form(self.form, model)
        return queue

    def prepare(self, model: LoadedModel, images: ImageInput) -> Groups:
        """Fetch, decode and resize the images."""
        assert model.image is not None
        images.check(self.images.images, param=self.images.param)
        return load_pixels(self.images, model.image, images)

    def finish(self, model: LoadedModel, rows: Rows) -> AnyVectors:
        """Bring the vectors into the form asked for."""
        del model
        return finish_vectors(rows, self.form)
