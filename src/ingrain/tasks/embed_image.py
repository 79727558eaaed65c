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
from ingrain.tasks.images import Images, check_images, prepare_images
from ingrain.tasks.vectors import VectorForm, check_form, finish_vectors


class EmbedImages(msgspec.Struct, eq=False):
    """Embeds images; the result has one vector for each image, in order."""

    model: ModelName
    images: Images
    form: VectorForm

    def __len__(self) -> int:
        return len(self.images)

    def check(self, limits: RequestLimits) -> None:
        """Refuse too many images."""
        check_images(limits, self.images)

    def admit(self, model: LoadedModel, limits: RequestLimits) -> Batcher[Pixels]:
        """Check the form of the vectors and return the queue of the image encoder."""
        del limits
        queue = model.queue("image_encoder", self.images.param, "embed images")
        if self.form.dtype in NEEDS_RANGES:
            raise ModalityError(
                f"{self.form.dtype} is not available for images; use float, binary or ubinary.",
                param="outputDtype",
            )
        check_form(self.form, model)
        return queue

    def prepare(self, model: LoadedModel, images: ImageInput) -> Groups:
        """Fetch, decode and resize the images."""
        return prepare_images(self.images, model, images)

    def finish(self, model: LoadedModel, rows: Rows) -> AnyVectors:
        """Convert the rows into the requested form."""
        del model
        return finish_vectors(rows, self.form)
