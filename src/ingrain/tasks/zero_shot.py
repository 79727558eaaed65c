"""Classifies images with labels from the request, by a model with a text and an image encoder."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from ingrain.errors import ModalityError, TooLargeError
from ingrain.models.loaded import LoadedModel
from ingrain.pipeline.pipeline import Pipeline
from ingrain.pipeline.task import ModelName, RequestLimits, Rows
from ingrain.postprocess.probabilities import sigmoid, softmax
from ingrain.postprocess.vectors import finish
from ingrain.tasks.embed_image import EmbedImages
from ingrain.tasks.embed_text import EmbedTexts
from ingrain.tasks.images import Images, check_images
from ingrain.tasks.item_limit import check_count
from ingrain.tasks.texts import MAX_ADDED_CHARS, Texts, check_texts
from ingrain.tasks.vectors import VectorForm

_LABEL_VECTORS_KEPT_BYTES = 32 * 1024 * 1024
_LABEL_SET_KEPT_BYTES = 4 * 1024 * 1024
_UNIT_LENGTH = VectorForm()


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Candidate labels, and templates that make a sentence from a label, which replaces ``{}``.

    Attributes:
        names: The labels.
        templates: The templates.
        cache_group: As in ``Texts``.
    """

    names: tuple[str, ...]
    templates: tuple[str, ...] = ("{}",)
    cache_group: int | None = 0


async def classify_zero_shot(pipeline: Pipeline, name: ModelName, images: Images, labels: Labels) -> Rows:
    """Return probabilities, ``float32 [N, K]``, in the order of the images and of the labels.

    Computed like in OpenCLIP: the vector of a label is the normalized mean of the unit vectors of its sentences. The
    cosine similarities are multiplied by the model's learned scale, its bias is added, and softmax (CLIP) or sigmoid
    (SigLIP) is applied.
    """
    started = time.monotonic()
    check_images(pipeline.limits, images)
    _check_labels(pipeline.limits, labels)
    model = await pipeline.model(name)
    similarity = model.manifest.similarity
    if similarity is None or "image_encoder" not in model.queues:
        raise ModalityError(
            f"Model {name.name!r} cannot do zero-shot classification, which needs a model with a text and an image "
            "encoder (CLIP, SigLIP).",
            param="name",
        )
    targets = await _label_vectors(pipeline, name, model, labels, started)
    rows = await pipeline.run(EmbedImages(name, images, _UNIT_LENGTH), started=started)
    cosines = rows.astype(np.float32, copy=False) @ targets.T
    scores = (similarity.scale * cosines + similarity.bias).astype(np.float32)
    return softmax(scores) if similarity.activation == "softmax" else sigmoid(scores)


async def _label_vectors(
    pipeline: Pipeline, name: ModelName, model: LoadedModel, labels: Labels, started: float
) -> Rows:
    """Return a unit vector for each label, ``float32 [K, D]``, from an LRU cache of label sets."""
    group, kept = labels.cache_group, model.label_vectors
    key = (str(group), *labels.templates, "\0", *labels.names)
    if group is not None and key in kept:
        kept.move_to_end(key)
        return kept[key]
    sentences = [template.replace("{}", label) for label in labels.names for template in labels.templates]
    places = [place for place in range(len(labels.names)) for _ in labels.templates]
    texts = Texts(texts=sentences, param="labels", places=places, cache_group=group)
    rows = (await pipeline.run(EmbedTexts(name, texts, _UNIT_LENGTH), started=started)).vectors
    means = rows.reshape(len(labels.names), len(labels.templates), -1).mean(axis=1)
    vectors = finish(means, dimensions=None, normalize=True)
    if group is not None and vectors.nbytes + sum(map(len, key)) <= _LABEL_SET_KEPT_BYTES:
        kept[key] = vectors
        while sum(rows.nbytes for rows in kept.values()) > _LABEL_VECTORS_KEPT_BYTES:
            kept.popitem(last=False)
    return vectors


def _check_labels(limits: RequestLimits, labels: Labels) -> None:
    """Refuse too many labels and too long sentences, before the sentences are built."""
    check_texts(limits, Texts(texts=labels.names, param="labels"))
    check_count(len(labels.names) * len(labels.templates), limits.max_items, "labels", "labels times templates")
    total = 0
    for number, template in enumerate(labels.templates):
        holes, fixed = template.count("{}"), len(template)
        lengths = [fixed + holes * (len(label) - 2) for label in labels.names]
        total += sum(lengths)
        if max(lengths) > limits.max_text_chars or total > MAX_ADDED_CHARS:
            raise TooLargeError(
                f"templates[{number}] makes the labels longer than {limits.max_text_chars} characters each "
                f"(INGRAIN_MAX_TEXT_CHARS) or {MAX_ADDED_CHARS} in all.",
                param=f"templates[{number}]",
                facts={"limit": limits.max_text_chars},
            )
