"""Reads the image preprocessing of a loaded sentence-transformers model, and its text-image similarity."""

from __future__ import annotations

from typing import Any

from PIL import Image

from ingrain.export.families.towers import PIXELS, learned_similarity
from ingrain.export.huggingface.image_processor import preprocess_config_from_transformers
from ingrain.export.model_files import unsupported
from ingrain.repository.image_preprocess import ImagePreprocess
from ingrain.repository.manifest import Similarity


def image_preprocess_of(model: Any) -> ImagePreprocess | None:
    """Return the image preprocessing of a ``SentenceTransformer``; None if it takes no images.

    Raises:
        UnsupportedModelError: The image preprocessing is not supported.
    """
    processor = image_processor_of(model)
    if processor is None:
        return None
    config = preprocess_config_from_transformers(processor)
    made = set(model[0].preprocess([Image.new("RGB", (40, 30))])) - {"modality"}
    if made != {PIXELS}:
        raise unsupported(
            f"The image tower takes the input {min(made - {PIXELS}, default='nothing')!r} in addition to pixels; "
            "image towers with batches of images of different shapes are not supported."
        )
    return config


def image_processor_of(model: Any) -> Any:
    """Return the model's image processor of transformers; None if it takes no images."""
    first = model[0]
    processor = getattr(getattr(first, "processor", None), "image_processor", None)
    return processor if processor is not None and "image" in first.modality_config else None


def similarity_of(model: Any) -> Similarity | None:
    """Return how the model's network compares text and image vectors; None if it learned no scale."""
    return learned_similarity(model[0].model)
