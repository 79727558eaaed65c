"""Classifies images with the model's own labels."""

from __future__ import annotations

from ingrain.batching.batcher import Batcher
from ingrain.errors import ModalityError
from ingrain.models.loaded import LoadedModel
from ingrain.pipeline.task import RequestLimits, Rows
from ingrain.postprocess.probabilities import softmax
from ingrain.preprocess.image import Pixels
from ingrain.tasks.images import ImagesTask


class ClassifyImages(ImagesTask):
    """Classifies images; the result is probabilities, ``float32 [N, K]``, by image and by the model's labels."""

    def admit(self, model: LoadedModel, limits: RequestLimits) -> Batcher[Pixels]:
        """Return the queue of the classifier."""
        del limits
        queue = model.queues.get("classifier")
        if queue is None:
            hint = " Send label names to /classify_image_zero_shot." if model.manifest.similarity else ""
            raise ModalityError(f"Model {model.manifest.name!r} is not a classifier.{hint}", param="name")
        return queue

    def finish(self, model: LoadedModel, rows: Rows) -> Rows:
        """Turn logits into probabilities."""
        del model
        return softmax(rows)
