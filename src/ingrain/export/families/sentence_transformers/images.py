"""Reads how a loaded sentence-transformers model takes images, and compares them with texts."""

from __future__ import annotations

from typing import Any

from PIL import Image

from ingrain.export.families.towers import PIXELS
from ingrain.export.huggingface.image_processor import preprocess_config_from_transformers
from ingrain.export.model_files import unsupported
from ingrain.repository.manifest import ImagePreprocess, Similarity


def image_preprocess_of(model: Any) -> ImagePreprocess | None:
    """Return how pictures are prepared; None where the model takes none.

    Args:
        model: A ``SentenceTransformer``; a ``CLIPModel`` or ``Transformer`` comes first where it takes pictures.

    Raises:
        UnsupportedModelError: It takes pictures in a way that is not modelled.
    """
    processor = image_processor_of(model)
    if processor is None:
        return None
    config = preprocess_config_from_transformers(processor)
    made = set(model[0].preprocess([Image.new("RGB", (40, 30))])) - {"modality"}
    if made != {PIXELS}:
        raise unsupported(
            f"The image tower takes {min(made - {PIXELS}, default='nothing')!r} beside pixels, for pictures of many "
            "shapes at once, which Ingrain does not model."
        )
    return config


def image_processor_of(model: Any) -> Any:
    """Return the image processor of transformers, where the model takes images; else None."""
    first = model[0]
    processor = getattr(getattr(first, "processor", None), "image_processor", None)
    return processor if processor is not None and "image" in first.modality_config else None


def similarity_of(model: Any) -> Similarity | None:
    """Return how the network itself compares text and image; None where it has learned no scale.

    CLIP and SigLIP of transformers hold a logarithm (``logit_scale``), the latter a shift beside it: as OpenCLIP's,
    that is learned only together with the sigmoid loss, by which each label stands alone.
    """
    network = model[0].model
    scale, bias = getattr(network, "logit_scale", None), getattr(network, "logit_bias", None)
    if scale is None or scale.numel() != 1:
        return None
    factor = float(scale.exp().reshape(()))
    if bias is None:
        return Similarity(scale=factor)
    return Similarity(scale=factor, bias=float(bias.reshape(())), activation="sigmoid")
