"""Embeds images."""

from __future__ import annotations

from ingrain.batching.request import Queue
from ingrain.errors import ModalityError
from ingrain.models.loaded import LoadedModel
from ingrain.pipeline.task import RequestLimits, Rows
from ingrain.postprocess.quantize import NEEDS_RANGES, AnyVectors
from ingrain.preprocess.image import Pixels
from ingrain.tasks.images import ImagesTask
from ingrain.tasks.vectors import VectorForm, check_form, finish_vectors


class EmbedImages(ImagesTask):
    """Embeds images; the result has one vector for each image, in order."""

    form: VectorForm

    def admit(self, model: LoadedModel, limits: RequestLimits) -> Queue[Pixels]:
        """Check the form of the vectors and return the queue of the image encoder."""
        del limits
        queue = model.queue("image_encoder", self.images.param, "embed images")
        if self.form.dtype in NEEDS_RANGES:
            raise ModalityError(
                f"{self.form.dtype} is not available for images; use float, binary or ubinary.",
                param=self.form.dtype_param,
            )
        check_form(self.form, model)
        return queue

    def finish(self, model: LoadedModel, rows: Rows) -> AnyVectors:
        """Convert the rows into the requested form."""
        del model
        return finish_vectors(rows, self.form)
